//! The text formats that are known, one entry each. Adding one is adding an entry and its cases to
//! `tests/data/formats/`.
//!
//! A pattern covers the beginning of a line, up to its message: the message is what is left. Groups are named as stored
//! fields; other names go to `extra_data`, a digit at a name's end only keeps names apart. Words in braces stand for
//! parts that many formats share, see [`MACROS`]. A pattern that begins with `{time}` or `\[{time}` is tried behind a
//! time that was read before, the others at the line's start.
//!
//! Order counts where two fit: the stricter one stands first.

/// One text format.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub name: &'static str,
    pub pattern: &'static str,
    /// What is peculiar to it.
    pub kind: Kind,
}

/// How the captured parts of a line are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    /// What is left is a line of its own.
    Wrapper,
    /// Known only where the time lacks its year or names its zone: syslog's.
    Syslog,
    /// Nothing but a level: kept out of what is remembered of a stream.
    Loose,
    /// The message is made of the request and its outcome.
    Access,
}

/// Parts that many patterns share.
pub(super) const MACROS: &[(&str, &str)] = &[
    // Any spelling.
    (
        "{level}",
        "(?<level>(?i:TRACE|DEBUG|INFO|INFORMATION|NOTICE|SUCCESS|WARN|WARNING|ERROR|ERR|CRIT|CRITICAL|FATAL|EMERG|EMERGENCY|ALERT|PANIC|DPANIC|SEVERE|FINE|FINER|FINEST|CONFIG|VERBOSE|EXCEPTION|TRC|DBG|INF|WRN|FTL|VRB|EROR|DBUG|LOG|SILLY))",
    ),
    // In capitals, as nobody writes within a sentence.
    (
        "{LEVEL}",
        "(?<level>TRACE|DEBUG|INFO|INFORMATION|NOTICE|SUCCESS|WARN|WARNING|ERROR|ERR|CRIT|CRITICAL|FATAL|EMERG|EMERGENCY|ALERT|PANIC|DPANIC|SEVERE|FINE|FINER|FINEST|CONFIG|VERBOSE|EXCEPTION|TRC|DBG|INF|WRN|FTL|VRB|EROR|DBUG)",
    ),
    (
        "{CORE}",
        "(?<level>TRACE|DEBUG|INFO|SUCCESS|WARN|WARNING|ERROR|CRITICAL|FATAL)",
    ),
    // Levels of one's own, where all else is unmistakable.
    ("{word}", "(?<level>[A-Za-z][A-Za-z0-9_+-]{0,23})"),
    ("{name}", "[A-Za-z_][A-Za-z0-9_]*"),
    ("{dotted}", "[A-Za-z_][A-Za-z0-9_$]*(?:(?:\\.|::)[A-Za-z0-9_$<>]+)+"),
    ("{logger}", "[A-Za-z_][A-Za-z0-9_$-]*(?:(?:\\.|::)[A-Za-z0-9_$<>-]+)*"),
    (
        "{place}",
        "[\\[(]?(?<file>[A-Za-z0-9_./\\\\<>@-]+\\.[A-Za-z]{1,5}):(?<line>[0-9]+)[\\])]?",
    ),
    ("{clock}", "[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]+)?"),
    // What may stand between a level and the message.
    (
        "{origin}",
        "(?:(?<span>[A-Za-z0-9_]+\\{[^}]*\\}(?::[A-Za-z0-9_]+\\{[^}]*\\})*): )?(?:[\\[(]?(?<file>[A-Za-z0-9_./\\\\<>@-]+\\.[A-Za-z]{1,5}):(?<line>[0-9]+)[\\])]?(?: +- +|: +| +))?(?:\\[(?<part>[^\\]\"]{1,60})\\](?: +- +|: *| +))?(?:(?<logger>[A-Za-z_][A-Za-z0-9_$-]*(?:(?:\\.|::)[A-Za-z0-9_$<>-]+)*): +|(?<logger1>root|__main__) +|(?<logger2>[A-Za-z_][A-Za-z0-9_$]*(?:(?:\\.|::)[A-Za-z0-9_$]+)+)(?::(?<line2>[0-9]+))? +- +)?",
    ),
];

const fn plain(name: &'static str, pattern: &'static str) -> Entry {
    Entry {
        name,
        pattern,
        kind: Kind::Plain,
    }
}

const fn other(name: &'static str, kind: Kind, pattern: &'static str) -> Entry {
    Entry { name, pattern, kind }
}

/// All of them.
pub(super) const ENTRIES: &[Entry] = &[
    // Behind a time.
    plain(
        "loguru",
        r"{time} \| {word} *\| (?<logger>[^ :|]+):(?<function>[^ :|]*):(?<line>[0-9]+) - ",
    ),
    other(
        "cri",
        Kind::Wrapper,
        r"{time} (?<stream>stdout|stderr) (?<cri>[FP](?::[^ ]*)?) ",
    ),
    plain(
        "postgresql",
        r"{time} (?:[A-Z]{3,5} )?\[(?<pid>[0-9]+)(?:-[0-9]+)?\] (?:(?<user>[^ @]+)@(?<database>[^ ]+) )?(?:[^ :]+ )?(?<level>DEBUG[1-5]?|INFO|NOTICE|WARNING|ERROR|LOG|FATAL|PANIC|DETAIL|HINT|STATEMENT|CONTEXT|QUERY):  ?",
    ),
    plain(
        "nginx-error",
        r"{time} \[{level}\] (?<pid>[0-9]+)#(?<thread>[0-9]+): (?:\*(?<connection>[0-9]+) )?",
    ),
    plain(
        "mysql",
        r"{time} (?<thread>[0-9]+) \[(?<level>System|Note|Warning|Error|ERROR)\] (?:\[(?<code>[A-Z]+-[0-9]+)\] )?(?:\[(?<logger>[A-Za-z0-9_]+)\] )?",
    ),
    plain(
        "spring",
        r"{time} +{level} (?<pid>[0-9]+) --- (?:\[ *(?<application>[^\]]*)\] )?\[ *(?<thread>[^\]]*)\] +(?<logger>[^ :]+) *: ",
    ),
    plain(
        "logback",
        r"{time},? +\[(?<thread>[^\]]*)\] +{level} +(?<logger>[A-Za-z0-9_.$/\[\]]+)(?:[:(](?<line>[0-9]+)\)?)? *(?:\[[^\]]*\] *)?-{1,2} ",
    ),
    plain(
        "log4j",
        r"{time} +{level} +\[(?<thread>[^\]]*)\] +(?<logger>[A-Za-z0-9_.$/]+)(?: *\((?<file>[^:)]+):(?<line>[0-9]+)\)|[:@](?<line2>[0-9]+))? *(?:-{1,2}|:) ",
    ),
    plain(
        "zookeeper",
        r"{time} \[[^\]]*\] - {level} +\[(?<thread>[^:\]]*):(?<logger>[^@\]]+)@(?<line>[0-9]+)\] - ",
    ),
    plain("scrapy", r"{time} \[(?<logger>{logger})\] {level}: "),
    plain("tomcat", r"{time} {LEVEL} \[(?<thread>[^\]]*)\] (?<logger>{dotted}) "),
    plain(
        "zap-console",
        r"{time}\t{level}\t(?:(?<logger>[A-Za-z][A-Za-z0-9_.-]*)\t)?(?:(?<file>[A-Za-z0-9_./@-]+\.[a-z]+):(?<line>[0-9]+)\t)?",
    ),
    plain(
        "tensorflow",
        r"{time}: (?<level>[IWEF]) (?<file>[A-Za-z0-9_./-]+):(?<line>[0-9]+)\] ",
    ),
    plain(
        "dotnet",
        r"{time} ?(?<level>trce|dbug|info|warn|fail|crit): (?<logger>[A-Za-z0-9_.`+<>]+)\[(?<event_id>[0-9]+)\] ?",
    ),
    plain(
        "pipes",
        r"{time} *\| *(?<logger>[A-Za-z_][A-Za-z0-9_.]*) *\| *{LEVEL} *\| *",
    ),
    plain(
        "pipes",
        r"{time} *\| *{level} *\| *(?:(?<logger>[A-Za-z_][A-Za-z0-9_.]*)(?::(?<function>[A-Za-z0-9_<>]+))?(?::(?<line>[0-9]+))?(?: *\| *| +- +))?",
    ),
    plain(
        "python",
        r"{time} +- +(?<logger>[A-Za-z_][A-Za-z0-9_.:$/-]*) +- +(?:\[?(?<pid>[0-9]+)\]? +- +)?\[?{level}\]? +- +(?:{place} +- +|(?<function>{name}):(?<line2>[0-9]+) +- +)?",
    ),
    plain(
        "python",
        r"{time} +- +(?:\[?(?<pid>[0-9]+)\]? +- +)?\[?{level}\]? +- +(?:(?<logger>root|__main__|{dotted}) +- +)?(?:{place} +- +)?",
    ),
    plain("python", r"{time}:{LEVEL}:(?:(?<logger>{logger}):)?"),
    plain(
        "python",
        r"{time},? +(?<logger>root|__main__|{dotted})(?: +\[(?<part>[^\]]{1,60})\])? +{LEVEL}(?: +- +|: +| +)",
    ),
    plain(
        "python",
        r"{time} +(?<logger>[A-Za-z_][A-Za-z0-9_.]*)(?: +: +| {2,}){LEVEL}(?: +- +|: +| +)",
    ),
    plain(
        "python",
        r"{time} +\[?(?<pid>[0-9]+)\]? +\[?{LEVEL}\]?(?: +- +|: +| +){origin}",
    ),
    plain(
        "python",
        r"{time} +(?<thread>MainThread|Thread-[^ ]+|ThreadPool[^ ]+) +\[?{LEVEL}\]?(?: +- +|: +| +){origin}",
    ),
    plain(
        "heroku",
        r"{time} (?<logger>app|heroku)\[(?<process>[A-Za-z0-9_.-]+)\]: ",
    ),
    plain(
        "threaded",
        r"{time},? +\[(?<part1>[^\]]{1,60})\] +\[?{LEVEL}\]?(?: +[-|] +|: *| +|$){origin}",
    ),
    plain(
        "bracketed-level",
        r"{time},?(?: +[-|:])? *(?:\[(?<part1>[^\]]{1,60})\] *)?[\[(] *{level} *[\])](?: +[-|] +|: *| +|$){origin}",
    ),
    plain(
        "time-level",
        r"{time},?(?: +| +[-|] +|\t){LEVEL}(?: *[-|:]+ +|:?[ \t]+|$){origin}",
    ),
    plain("time-level", r"{time},?(?: +| *[-|] +){level}(?: +[-|] +|: +){origin}"),
    plain("delimited", r"{time} ?[,;] ?{level} ?[,;] ?"),
    other(
        "syslog-rfc3164",
        Kind::Syslog,
        r"{time} (?<host>[A-Za-z0-9][A-Za-z0-9_.:-]*) (?<script>[A-Za-z0-9_./()@+-]+)(?:\[(?<pid>[0-9]+)\])?: ?",
    ),
    // Behind a bracket and a time.
    plain("celery", r"\[{time}: {level}/(?<process>[^\]]+)\] "),
    plain("gunicorn", r"\[{time}\] \[(?<pid>[0-9]+)\] \[{level}\] "),
    plain(
        "django",
        r"\[{time}\] {level} \[(?<logger>[A-Za-z0-9_.]+):(?<line>[0-9]+)\] ",
    ),
    other(
        "django-server",
        Kind::Access,
        r#"\[{time}\] "(?<request>(?:[^"\\]|\\.)*)" (?<status>[0-9]{3}) (?<size>[0-9]+|-)"#,
    ),
    plain("flask", r"\[{time}\] {level} in (?<module>[A-Za-z0-9_.]+): "),
    plain("airflow", r"\[{time}\] \{(?<file>[^:}]+):(?<line>[0-9]+)\} {level} - "),
    plain("env-logger", r"\[{time} +{level} +(?<logger>[A-Za-z0-9_:.-]+)\] "),
    plain("env-logger", r"\[{time} +{LEVEL}\] "),
    plain(
        "apache-error",
        r"\[{time}\] \[(?<logger>[A-Za-z0-9_-]*):(?<level>emerg|alert|crit|error|warn|notice|info|debug|trace[1-8])\] (?:\[pid (?<pid>[0-9]+)(?::tid (?<thread>[0-9]+))?\] )?(?:\[client (?<client>[^\]]+)\] )?",
    ),
    plain(
        "apache-error",
        r"\[{time}\] \[{level}\] (?:\[client (?<client>[^\]]+)\] )?",
    ),
    plain("monolog", r"\[{time}\] (?<logger>[A-Za-z0-9_.-]+)\.{LEVEL}: "),
    plain(
        "php",
        r"\[{time}\] PHP (?<level>(?:Recoverable )?[Ff]atal error|Parse error|Warning|Notice|Deprecated): +",
    ),
    plain(
        "elasticsearch",
        r"\[{time}\]\[{level} *\]\[ *(?<logger>[^\] ]*) *\] ?(?:\[(?<host>[^\]]+)\] ?)?",
    ),
    plain(
        "pino-pretty",
        r"\[{time}\] {LEVEL}(?: \((?:(?<logger>[^/)]+)/)?(?<pid>[0-9]+)(?: on (?<host>[^)]+))?\))?: ",
    ),
    plain(
        "bracketed-time",
        r"\[{time}\],?(?: +[-|:])? *(?:\[(?<part1>[^\]]{1,60})\] *)?\[ *{level} *\](?: +[-|] +|: *| +|$){origin}",
    ),
    plain(
        "bracketed-time",
        r"\[{time}\],?(?: +[-|])? *{LEVEL}(?: +[-|] +|: *| +|$){origin}",
    ),
    plain(
        "bracketed-time",
        r"\[{time}\],?(?: +[-|])? *{level}(?: +[-|] +|: +){origin}",
    ),
    // At the line's start.
    plain(
        "klog",
        r"(?<level>[IWEFD])(?<glog>[0-9]{4}(?:[0-9]{4})? [0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]+) +(?<pid>[0-9]+) (?<file>[^ :\]]+):(?<line>[0-9]+)\] ",
    ),
    plain(
        "syslog-rfc5424",
        r#"<(?<pri>[0-9]{1,3})>1 (?<time>[^ ]+) (?<host>[^ ]+) (?<script>[^ ]+) (?<pid>[^ ]+) (?<msgid>[^ ]+) (?:-|(?<structured_data>(?:\[(?:[^\]"\\]|\\.|"(?:[^"\\]|\\.)*")*\])+))(?: |$)"#,
    ),
    plain(
        "syslog-rfc3164",
        r"<(?<pri>[0-9]{1,3})>(?<time>[A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8}(?:\.[0-9]+)?|[0-9]{4}-[0-9]{2}-[0-9]{2}T[^ ]+) (?:(?<host>[A-Za-z0-9][A-Za-z0-9_.:-]*) )?(?<script>[^ \[:]+)(?:\[(?<pid>[0-9]+)\])?: ?",
    ),
    plain("systemd", r"<(?<pri>[0-7])>"),
    other(
        "access",
        Kind::Access,
        r#"(?:(?<vhost>[A-Za-z0-9_.-]+(?::[0-9]+)?) )?(?<client>[0-9a-fA-F.:]+|[A-Za-z0-9_.-]+) [^ ]+ (?<user>[^ ]+|[^ ]+ [^ \[]+) \[(?<time>[^\]]+)\] "(?<request>(?:[^"\\]|\\.)*)" (?<status>[0-9]{3}|-) (?<size>[0-9]+|-)(?: "(?<referer>(?:[^"\\]|\\.)*)" "(?<agent>(?:[^"\\]|\\.)*)")?"#,
    ),
    plain(
        "ruby",
        r"[DIWEFA], \[(?<time>[^ \]]+) #(?<pid>[0-9]+)\] +(?<level>DEBUG|INFO|WARN|ERROR|FATAL|ANY) -- (?<script>[^:]*): ",
    ),
    plain(
        "redis",
        r"(?<pid>[0-9]+):(?<role>[XCSM]) (?<time>[0-9]{2} [A-Z][a-z]{2} [0-9]{4} {clock}) (?<mark>[.*#-]) ",
    ),
    plain(
        "dotnet",
        r"(?<level>trce|dbug|info|warn|fail|crit): (?<logger>[A-Za-z0-9_.`+<>]+)\[(?<event_id>[0-9]+)\] ?",
    ),
    plain(
        "logback",
        r"{clock} \[(?<thread>[^\]]*)\] {level} +(?<logger>[A-Za-z0-9_.$/\[\]]+) -{1,2} ",
    ),
    plain("serilog-console", r"\[{clock} {LEVEL}\] "),
    plain(
        "clock-level",
        r"\[?{clock}\]?(?: +[-|] +| +)\[?{LEVEL}\]?(?: *[-|:]+ +| +|$){origin}",
    ),
    plain("clock-level", r"{clock} +\[{level}\] +"),
    plain(
        "zerolog-console",
        r"[0-9]{1,2}:[0-9]{2}[AP]M (?<level>TRC|DBG|INF|WRN|ERR|FTL|PNC) ",
    ),
    plain(
        "pytest",
        r"{LEVEL} +(?<logger>[A-Za-z0-9_.-]+):(?<file>[A-Za-z0-9_./-]+\.py):(?<line>[0-9]+) ",
    ),
    plain("python", r"{LEVEL}:(?<logger>[A-Za-z0-9_.$/-]+):"),
    plain(
        "django",
        r"{LEVEL} (?<time>[0-9]{4}-[0-9]{2}-[0-9]{2} {clock}) (?<module>[A-Za-z0-9_.]+) (?<pid>[0-9]+) (?<thread>[0-9]+) ",
    ),
    plain(
        "level-time",
        r"\[?{LEVEL}\]?:?[ |-]+\[?(?<time>[0-9]{4}[-/][0-9]{2}[-/][0-9]{2}[T ]{clock}(?:Z| ?[+-][0-9]{2}:?[0-9]{2})?)\]?(?: *[-|:]+ +| +){origin}",
    ),
    plain(
        "log15-terminal",
        r"(?<level>TRCE|DBUG|TRACE|DEBUG|INFO|WARN|EROR|ERROR|CRIT) *\[[0-9]{2}-[0-9]{2}\|{clock}\] ",
    ),
    plain(
        "logrus-terminal",
        r"(?<level>TRAC|DEBU|INFO|WARN|ERRO|FATA|PANI)\[[0-9]+\] +",
    ),
    plain("uvicorn", r"{LEVEL}: {2,}"),
    plain(
        "php",
        r"PHP (?<level>(?:Recoverable )?[Ff]atal error|Parse error|Warning|Notice|Deprecated): +",
    ),
    plain("python", r"(?<logger>{logger})(?: *: | - |:){LEVEL}(?: - |: ?| +)"),
    other(
        "bracketed-level",
        Kind::Loose,
        r"(?:\[(?<part1>[^\]]{1,60})\] ?)?\[ *{level} *\](?: +[-|] +|: *| +|$){origin}",
    ),
    other("level-first", Kind::Loose, r"{LEVEL}(?: +[-|] +| *: +|$){origin}"),
    other(
        "level-first",
        Kind::Loose,
        r"(?<level>(?i:debug|info|notice|warn|warning|error|critical|fatal|severe)): +",
    ),
    other("level-first", Kind::Loose, r"{CORE}(?: +|$){origin}"),
];
