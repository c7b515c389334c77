use super::super::text::escape;
use super::*;

#[track_caller]
fn says(plain: &str, chain: &[(&str, &str)], frame: Option<(&str, &str)>) {
    let text = escape(plain);
    let got = read(&text);
    assert_eq!(got.chain, chain, "{plain}");
    assert_eq!(got.frame, frame, "{plain}");
}

#[test]
fn one_exception() {
    says(
        "Traceback (most recent call last):\n  File \"/srv/a.py\", line 8, in go\n    deep(1)\n  File \"/srv/b.py\", line 3, in deep\n    raise ValueError(\"x\")\nValueError: bad: value\n",
        &[("ValueError", "bad: value")],
        Some(("/srv/b.py", "deep")),
    );
}

#[test]
fn the_root_cause_comes_first_in_a_chain() {
    says(
        "Traceback (most recent call last):\n  File \"/srv/a.py\", line 8, in inner\n    1/0\nZeroDivisionError: division by zero\n\nThe above exception was the direct cause of the following exception:\n\nTraceback (most recent call last):\n  File \"/srv/a.py\", line 9, in outer\n    x\nmypkg.errors.JobError: job 7 failed\n\nDuring handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"/srv/a.py\", line 10, in main\n    y\nKeyError: 'k'\n",
        &[
            ("KeyError", "'k'"),
            ("ZeroDivisionError", "division by zero"),
            ("JobError", "job 7 failed"),
        ],
        Some(("/srv/a.py", "main")),
    );
}

#[test]
fn what_was_handled_is_no_cause_of_what_was_raised_meanwhile() {
    let text = "Traceback (most recent call last):\n  File \"/srv/c.py\", line 9, in get\n    return cache[key]\nKeyError: 'a'\n\nDuring handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"/srv/c.py\", line 4, in fetch\n    raise TimeoutError(key)\nTimeoutError: a\n\nThe above exception was the direct cause of the following exception:\n\nTraceback (most recent call last):\n  File \"/srv/c.py\", line 14, in main\n    get()\nJobError: no data\n";
    says(
        text,
        &[("TimeoutError", "a"), ("JobError", "no data"), ("KeyError", "'a'")],
        Some(("/srv/c.py", "fetch")),
    );
    assert_eq!(read(&escape(text)).own, 1);
}

#[test]
fn the_root_causes_of_a_group_are_in_its_innermost_parts() {
    let text = "  + Exception Group Traceback (most recent call last):\n  |   File \"/srv/t.py\", line 3, in main\n  |     asyncio.run(x)\n  | ExceptionGroup: outer (2 sub-exceptions)\n  +-+---------------- 1 ----------------\n    | Exception Group Traceback (most recent call last):\n    |   File \"/srv/t.py\", line 8, in inner\n    | ExceptionGroup: inner (1 sub-exception)\n    +-+---------------- 1 ----------------\n      | Traceback (most recent call last):\n      |   File \"/srv/t.py\", line 20, in fetch\n      |     x\n      | KeyError: 'price'\n      +------------------------------------\n    +---------------- 2 ----------------\n    | Traceback (most recent call last):\n    |   File \"/srv/t.py\", line 30, in connect\n    |     y\n    | OSError: low\n    | \n    | The above exception was the direct cause of the following exception:\n    | \n    | Traceback (most recent call last):\n    |   File \"/srv/t.py\", line 31, in connect\n    |     y\n    | ConnectionRefusedError: db\n    +---------------- ... ----------------\n    | and 3 more exceptions\n    +------------------------------------\n";
    says(
        text,
        &[
            ("KeyError", "'price'"),
            ("OSError", "low"),
            ("ExceptionGroup", "inner (1 sub-exception)"),
            ("ConnectionRefusedError", "db"),
            ("ExceptionGroup", "outer (2 sub-exceptions)"),
        ],
        Some(("/srv/t.py", "fetch")),
    );
    let escaped = escape(text);
    let got = read(&escaped);
    assert_eq!(got.own, 4);
    assert_eq!(
        got.others,
        [Cause {
            kind: "OSError",
            value: "low",
            frame: Some(("/srv/t.py", "connect"))
        }]
    );
}

#[test]
fn a_cause_that_was_never_raised_has_no_header() {
    says(
        "ValueError: the cause\n\nThe above exception was the direct cause of the following exception:\n\nTraceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n    raise X from ValueError('the cause')\nX\n",
        &[("ValueError", "the cause"), ("X", "")],
        None,
    );
}

#[test]
fn the_innermost_frame_is_the_scripts_own() {
    says(
        "Traceback (most recent call last):\n  File \"/srv/app.py\", line 8, in load\n    json.loads(x)\n  File \"/usr/lib/python3.11/json/__init__.py\", line 346, in loads\n    return d\n  File \"/srv/venv/lib/python3.11/site-packages/x/y.py\", line 1, in z\n    return d\njson.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
        &[("JSONDecodeError", "Expecting value: line 1 column 1 (char 0)")],
        Some(("/srv/app.py", "load")),
    );
    says(
        "Traceback (most recent call last):\n  File \"/usr/lib/python3.11/json/__init__.py\", line 346, in loads\n    return d\nX: y",
        &[("X", "y")],
        Some(("/usr/lib/python3.11/json/__init__.py", "loads")),
    );
}

#[test]
fn logurus_decorations_are_no_exceptions() {
    says(
        "Traceback (most recent call last):\n\n  File \"a.py\", line 20, in <module>\n    main()\n    └ <function main at 0x7f>\n\n> File \"a.py\", line 12, in main\n    go(\"x\")\n    │  └ 'x'\n    └ <function go at 0x7f>\n\n  File \"a.py\", line 5, in go\n    return {}[k]\n              └ 'x'\n\nKeyError: 'x'\n",
        &[("KeyError", "'x'")],
        Some(("a.py", "go")),
    );
}

#[test]
fn a_value_may_have_many_lines() {
    says(
        "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\n    x\nRuntimeError: first\nsecond\n\n  third\n",
        &[("RuntimeError", "first\\nsecond\\n\\n  third")],
        Some(("a.py", "f")),
    );
}

#[test]
fn a_part_of_a_group_that_was_never_raised_failed_where_the_group_did() {
    says(
        "  + Exception Group Traceback (most recent call last):\n  |   File \"t.py\", line 3, in <module>\n  |     raise ExceptionGroup(\"eg\", [ValueError(1)])\n  | ExceptionGroup: eg (1 sub-exception)\n  +-+---------------- 1 ----------------\n    | ValueError: 1\n    +------------------------------------\n",
        &[("ValueError", "1"), ("ExceptionGroup", "eg (1 sub-exception)")],
        Some(("t.py", "<module>")),
    );
}

#[test]
fn a_quoted_remote_traceback_is_the_root_cause() {
    says(
        "multiprocessing.pool.RemoteTraceback: \n\"\"\"\nTraceback (most recent call last):\n  File \"w.py\", line 2, in work\n    1/0\nZeroDivisionError: division by zero\n\"\"\"\n\nThe above exception was the direct cause of the following exception:\n\nTraceback (most recent call last):\n  File \"m.py\", line 9, in <module>\n    pool.map(f)\nZeroDivisionError: division by zero",
        &[
            ("ZeroDivisionError", "division by zero"),
            ("ZeroDivisionError", "division by zero"),
        ],
        Some(("w.py", "work")),
    );
}

#[test]
fn a_syntax_error_has_a_frame_without_function() {
    says(
        "  File \"<string>\", line 1\n    x =\n      ^\nSyntaxError: invalid syntax",
        &[("SyntaxError", "invalid syntax")],
        Some(("<string>", "")),
    );
}

#[test]
fn backslashes_before_an_n_are_no_line_ends() {
    let text = "X: C:\\\\new\\\\name\\nsecond";
    assert_eq!(
        Lines::new(text).map(|(_, l)| l).collect::<Vec<_>>(),
        ["X: C:\\\\new\\\\name", "second"]
    );
    assert_eq!(Lines::new("a\\n").map(|(_, l)| l).collect::<Vec<_>>(), ["a", ""]);
}

#[test]
fn anything_else_is_taken_as_it_is() {
    says("", &[], None);
    says("something went wrong", &[("", "something went wrong")], None);
    says("Traceback (most recent call last):", &[], None);
    says("KeyboardInterrupt", &[("KeyboardInterrupt", "")], None);
    says("a.<locals>.E: x", &[("E", "x")], None);
}
