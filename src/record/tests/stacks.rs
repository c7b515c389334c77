use super::*;

#[track_caller]
fn says(text: &str, links: &[(&str, &str)], frame: Option<(&str, &str)>) {
    let got = read(text).unwrap_or_else(|| panic!("no stack: {text}"));
    let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
    assert_eq!(got.links, links.iter().map(owned).collect::<Vec<_>>(), "{text}");
    assert_eq!(got.frame, frame.as_ref().map(owned), "{text}");
}

#[test]
fn the_last_cause_of_a_java_exception_is_its_root() {
    says(
        "java.lang.IllegalStateException: no stock\n\tat com.acme.Order.take(Order.java:42)\n\tat com.acme.Main.main(Main.java:7)\nCaused by: java.sql.SQLException: timeout\n\tat java.base/java.net.X.y(X.java:1)\n\tat com.acme.Db.q(Db.java:9)\n\t... 2 more\n",
        &[("IllegalStateException", "no stock"), ("SQLException", "timeout")],
        Some(("Db.java", "com.acme.Db.q")),
    );
    says(
        "Exception in thread \"main\" java.lang.NullPointerException\n\tat a.B.c(B.kt:4)",
        &[("NullPointerException", "")],
        Some(("B.kt", "a.B.c")),
    );
}

#[test]
fn javascript_names_its_own_code_and_its_cause() {
    says(
        "/app/a.js:3\n    x.y.z\n        ^\n\nTypeError: Cannot read properties of undefined (reading 'y')\n    at node:internal/x:1:1\n    at foo (/app/a.js:3:9)\n    at Object.<anonymous> (/app/a.js:7:1)\n\nNode.js v20.20.2\n",
        &[("TypeError", "Cannot read properties of undefined (reading 'y')")],
        Some(("/app/a.js", "foo")),
    );
    says(
        "Error: outer\n    at main (/app/a.js:9:1) {\n  [cause]: RangeError [ERR_X]: inner\n      at async deep (/app/b.js:1:1)\n}",
        &[("Error", "outer"), ("RangeError", "inner")],
        Some(("/app/b.js", "deep")),
    );
}

#[test]
fn the_innermost_exception_of_dotnet_is_its_root() {
    says(
        "Unhandled exception. System.InvalidOperationException: outer\n ---> System.IO.IOException: disk\n   at Shop.Disk.Write(String s) in /src/Disk.cs:line 9\n   --- End of inner exception stack trace ---\n   at Shop.Program.Main() in /src/Program.cs:line 4\n",
        &[("InvalidOperationException", "outer"), ("IOException", "disk")],
        Some(("/src/Disk.cs", "Shop.Disk.Write")),
    );
}

#[test]
fn go_rust_ruby_php_and_cpp_say_what_and_where() {
    says(
        "panic: runtime error: index out of range [5] with length 3\n\ngoroutine 1 [running]:\nmain.main()\n\t/app/main.go:9 +0x1d\nexit status 2\n",
        &[("panic", "runtime error: index out of range [5] with length 3")],
        Some(("/app/main.go", "main.main")),
    );
    says(
        "thread 'main' panicked at src/main.rs:3:5:\nassertion failed\n  left: 1\nnote: run with `RUST_BACKTRACE=1`\n",
        &[("panic", "assertion failed\n  left: 1")],
        Some(("src/main.rs", "")),
    );
    says(
        "thread 'main' panicked at 'boom', src/main.rs:3:5\nstack backtrace:\n   0: rust_begin_unwind\n             at /rustc/x\n   1: core::panicking::panic_fmt\n   2: shop::take\n",
        &[("panic", "boom")],
        Some(("src/main.rs", "shop::take")),
    );
    says(
        "Error: cannot start\n\nCaused by:\n    0: reading x\n    1: No such file or directory (os error 2)\n",
        &[
            ("Error", "cannot start"),
            ("Error", "reading x"),
            ("Error", "No such file or directory (os error 2)"),
        ],
        None,
    );
    says(
        "a.rb:3:in `take': no stock (Shop::StockError)\n\tfrom a.rb:7:in `<main>'\n",
        &[("StockError", "no stock")],
        Some(("a.rb", "take")),
    );
    says(
        "PHP Fatal error:  Uncaught App\\StockError: no stock in /srv/a.php:3\nStack trace:\n#0 /srv/a.php(7): take()\n#1 {main}\n  thrown in /srv/a.php on line 3\n",
        &[("StockError", "no stock")],
        Some(("/srv/a.php", "take")),
    );
    says(
        "terminate called after throwing an instance of 'std::runtime_error'\n  what():  boom\n",
        &[("std::runtime_error", "boom")],
        None,
    );
}

#[test]
fn other_text_is_no_stack() {
    for text in [
        "",
        "x",
        "we met at noon\n  at the bar",
        "a\nb\nc",
        "{\n  \"a\": 1\n}",
        "panicked at noon",
    ] {
        assert_eq!(read(text), None, "{text}");
    }
}
