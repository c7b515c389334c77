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
            ("ZeroDivisionError", "division by zero"),
            ("JobError", "job 7 failed"),
            ("KeyError", "'k'"),
        ],
        Some(("/srv/a.py", "inner")),
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
fn of_an_exception_group_the_group_counts() {
    says(
        "  + Exception Group Traceback (most recent call last):\n  |   File \"t.py\", line 3, in <module>\n  |     raise ExceptionGroup(\"eg\", [ValueError(1)])\n  | ExceptionGroup: eg (1 sub-exception)\n  +-+---------------- 1 ----------------\n    | ValueError: 1\n    +------------------------------------\n",
        &[("ExceptionGroup", "eg (1 sub-exception)")],
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
