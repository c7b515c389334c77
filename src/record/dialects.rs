//! JSON as other logging libraries and collectors write it: told by its shape, read by a table.
//!
//! A dialect is what some names mean when certain others stand beside them: `name` is a logger beside `levelname`, `t` a
//! time beside `lvl`, 30 a warning of loguru's but beside Pino's `pid` and `hostname` news. [`DIALECTS`] says for each
//! by which names it is known and what its own names are; all other names mean what they mean in every flat object.
//! Adding one is adding an entry here and its cases to `tests/data/formats/`.

use super::flat::Field;
use super::level::Scale;

/// One way to name things.
#[derive(Debug)]
pub(super) struct Dialect {
    pub name: &'static str,
    /// Marks that must all be there.
    all: u64,
    /// Of these marks at least one, where there are any.
    any: u64,
    /// Names with a meaning of their own, the first of a field before the others. A dot reaches into an object.
    pub names: &'static [(&'static str, Field)],
    /// Objects whose members count as if they stood outside.
    pub lift: &'static [&'static str],
    /// What a number as level means.
    pub scale: Scale,
}

impl Dialect {
    /// Rank and field of a name that this dialect has a meaning for.
    pub fn alias(&self, name: &str) -> Option<(Field, usize)> {
        let at = self.names.iter().position(|(n, _)| *n == name)?;
        // Python's own names come behind those that every object may use.
        let late = if self.name == "python" { 1000 } else { 0 };
        self.names.get(at).map(|(_, field)| (*field, at + late))
    }

    /// Whether a name begins one of the dialect's names with a dot.
    pub fn reaches_into(&self, name: &str) -> bool {
        let within = |n: &str| n.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
        self.names.iter().any(|(n, _)| within(n))
    }

    /// Whether objects have to be opened to read it.
    pub fn is_nested(&self) -> bool {
        !self.lift.is_empty() || self.names.iter().any(|(n, _)| n.contains('.'))
    }
}

/// What is said where nothing tells a dialect.
pub(super) static FLAT: Dialect = Dialect {
    name: "json",
    all: 0,
    any: 0,
    names: &[],
    lift: &[],
    scale: Scale::Plain,
};

/// The dialect of an object.
pub(super) fn of(members: &[(&str, &str)]) -> &'static Dialect {
    let marks = members.iter().fold(0, |all, (name, token)| all | mark(name, token));
    if marks == 0 {
        return &FLAT;
    }
    let is = |d: &&Dialect| marks & d.all == d.all && (d.any == 0 || marks & d.any != 0);
    DIALECTS.iter().find(is).unwrap_or(&FLAT)
}

const LOG_TEXT: u64 = 1;
const STREAM: u64 = 1 << 1;
const JOURNAL: u64 = 1 << 2;
const JOURNAL_MESSAGE: u64 = 1 << 3;
const SHORT_MESSAGE: u64 = 1 << 4;
const CLEF_TIME: u64 = 1 << 5;
const FIELDS: u64 = 1 << 6;
const TARGET: u64 = 1 << 7;
const GCP: u64 = 1 << 8;
const ECS: u64 = 1 << 9;
const LOG4J: u64 = 1 << 10;
const LOGSTASH: u64 = 1 << 11;
const LEVEL_NAME: u64 = 1 << 12;
const CHANNEL: u64 = 1 << 13;
const LEVEL_NUMBER: u64 = 1 << 14;
const PID: u64 = 1 << 15;
const HOSTNAME: u64 = 1 << 16;
const BUNYAN_V: u64 = 1 << 17;
const SYSLOG: u64 = 1 << 18;
const LOG_LEVEL: u64 = 1 << 19;
const CATEGORY: u64 = 1 << 20;
const TEMPLATE: u64 = 1 << 21;
const SEVERITY_LETTER: u64 = 1 << 22;
const COMPONENT: u64 = 1 << 23;
const PYTHON: u64 = 1 << 24;
const LEVEL_RECORD: u64 = 1 << 25;
const GO: u64 = 1 << 26;
const LVL: u64 = 1 << 27;
const SHORT_TIME: u64 = 1 << 28;
const TIMED: u64 = 1 << 29;
const NAME: u64 = 1 << 30;
const EPOCH_MS: u64 = 1 << 31;

/// What a member tells of its object's dialect.
fn mark(name: &str, token: &str) -> u64 {
    let starts = |c: u8| token.as_bytes().first() == Some(&c);
    let when = |condition: bool, mark: u64| if condition { mark } else { 0 };
    let number = || token.as_bytes().first().is_some_and(u8::is_ascii_digit);
    match name {
        "log" if starts(b'"') => LOG_TEXT,
        "log" => when(starts(b'{') && token.contains("\"level\""), ECS),
        "stream" | "kubernetes" | "container_name" | "container_id" => STREAM,
        "time" | "date" | "@timestamp" => TIMED | when(name == "time" && token.len() == 13 && number(), EPOCH_MS),
        "__REALTIME_TIMESTAMP" | "_SOURCE_REALTIME_TIMESTAMP" => JOURNAL,
        "PRIORITY" | "_PID" | "SYSLOG_IDENTIFIER" | "_HOSTNAME" | "_TRANSPORT" => JOURNAL,
        "MESSAGE" => JOURNAL_MESSAGE,
        "short_message" => SHORT_MESSAGE,
        "@t" | "@mt" => CLEF_TIME,
        "fields" => when(starts(b'{') && token.contains("\"message\""), FIELDS),
        "target" | "span" | "spans" => TARGET,
        "jsonPayload" | "textPayload" | "protoPayload" | "insertId" | "logName" => GCP,
        "logging.googleapis.com/trace" | "logging.googleapis.com/sourceLocation" => GCP,
        "ecs.version" | "ecs" | "log.level" | "log.logger" | "process.pid" | "error.type" => ECS,
        "loggerFqcn" | "loggerName" | "endOfBatch" | "instant" | "timeMillis" | "thrown" => LOG4J,
        "@version" | "level_value" | "stack_trace" => LOGSTASH,
        "level_name" => LEVEL_NAME,
        "channel" => CHANNEL,
        "level" => when(number(), LEVEL_NUMBER) | when(starts(b'{') || token.starts_with("\"(name='"), LEVEL_RECORD),
        "pid" => PID,
        "hostname" => HOSTNAME,
        "v" => when(token == "0" || token == "1", BUNYAN_V),
        "facility" | "syslogtag" | "syslog_facility" | "syslogfacility" | "syslogseverity" | "facility_label"
        | "procid" => SYSLOG,
        "severity" => when(number() || (starts(b'"') && token.len() == 3), SYSLOG),
        "LogLevel" => LOG_LEVEL,
        "Category" => CATEGORY,
        "MessageTemplate" | "RenderedMessage" => TEMPLATE,
        "s" => when(token.len() <= 4 && starts(b'"'), SEVERITY_LETTER),
        "c" => when(starts(b'"'), COMPONENT),
        "levelname" | "asctime" | "levelno" | "funcName" | "exc_text" => PYTHON,
        "created" => when(number(), PYTHON),
        "caller" | "stacktrace" => GO,
        "source" => when(starts(b'{'), GO),
        "lvl" => LVL,
        "t" => SHORT_TIME,
        "name" => when(starts(b'"'), NAME),
        _ => 0,
    }
}

/// Of several that fit the first counts.
static DIALECTS: [Dialect; 24] = [
    Dialect {
        name: "docker",
        all: LOG_TEXT | STREAM,
        any: 0,
        names: &[
            ("log", Field::Message),
            ("kubernetes.container_name", Field::Script),
            ("container_name", Field::Script),
            ("kubernetes.host", Field::Host),
            ("date", Field::Time),
        ],
        lift: &[],
        scale: Scale::Plain,
    },
    Dialect {
        name: "docker",
        all: LOG_TEXT | TIMED,
        any: 0,
        names: &[("log", Field::Message), ("date", Field::Time)],
        lift: &[],
        scale: Scale::Plain,
    },
    Dialect {
        name: "journald",
        all: JOURNAL_MESSAGE,
        any: JOURNAL,
        names: JOURNALD,
        lift: &[],
        scale: Scale::Syslog,
    },
    Dialect {
        name: "journald",
        all: JOURNAL,
        any: 0,
        names: JOURNALD,
        lift: &[],
        scale: Scale::Syslog,
    },
    Dialect {
        name: "gelf",
        all: SHORT_MESSAGE,
        any: 0,
        names: &[
            ("short_message", Field::Message),
            ("_logger", Field::Logger),
            ("_logger_name", Field::Logger),
            ("_thread_name", Field::ThreadName),
            ("_pid", Field::Pid),
            ("_process_id", Field::Pid),
            ("_file", Field::File),
            ("_line", Field::Line),
            ("_function", Field::Function),
            ("_app", Field::Script),
            ("_exception", Field::Exception),
            ("_stacktrace", Field::Stack),
            ("full_message", Field::Stack),
        ],
        lift: &[],
        scale: Scale::Syslog,
    },
    Dialect {
        name: "serilog",
        all: CLEF_TIME,
        any: 0,
        names: &[
            ("@t", Field::Time),
            ("@l", Field::Level),
            ("@m", Field::Message),
            ("@mt", Field::Message),
            ("@x", Field::Exception),
            ("SourceContext", Field::Logger),
            ("ProcessId", Field::Pid),
            ("ProcessName", Field::Process),
            ("ThreadId", Field::Thread),
            ("ThreadName", Field::ThreadName),
            ("MachineName", Field::Host),
            ("Application", Field::Script),
        ],
        lift: &[],
        scale: Scale::Plain,
    },
    Dialect {
        name: "serilog",
        all: TEMPLATE,
        any: 0,
        names: &[
            ("Timestamp", Field::Time),
            ("Level", Field::Level),
            ("RenderedMessage", Field::Message),
            ("MessageTemplate", Field::Message),
            ("Exception", Field::Exception),
            ("SourceContext", Field::Logger),
            ("ProcessId", Field::Pid),
            ("ThreadId", Field::Thread),
            ("MachineName", Field::Host),
        ],
        lift: &["Properties"],
        scale: Scale::Plain,
    },
    Dialect {
        name: "rust-tracing",
        all: FIELDS,
        any: 0,
        names: RUST,
        lift: &["fields"],
        scale: Scale::Plain,
    },
    Dialect {
        name: "gcp",
        all: GCP,
        any: 0,
        names: &[
            ("severity", Field::Level),
            ("jsonPayload.message", Field::Message),
            ("textPayload", Field::Message),
            ("timestamp", Field::Time),
            ("receiveTimestamp", Field::Time),
            ("sourceLocation.file", Field::File),
            ("sourceLocation.line", Field::Line),
            ("sourceLocation.function", Field::Function),
        ],
        lift: &["jsonPayload"],
        scale: Scale::Hundreds,
    },
    Dialect {
        name: "ecs",
        all: ECS,
        any: 0,
        names: &[
            ("@timestamp", Field::Time),
            ("log.level", Field::Level),
            ("log.logger", Field::Logger),
            ("log.origin.file.name", Field::File),
            ("log.origin.file.line", Field::Line),
            ("log.origin.function", Field::Function),
            ("process.pid", Field::Pid),
            ("process.name", Field::Process),
            ("process.thread.name", Field::ThreadName),
            ("process.thread.id", Field::Thread),
            ("host.hostname", Field::Host),
            ("host.name", Field::Host),
            ("service.name", Field::Script),
            ("error.type", Field::ErrorType),
            ("error.message", Field::ErrorValue),
            ("error.stack_trace", Field::Stack),
        ],
        lift: &[],
        scale: Scale::Plain,
    },
    Dialect {
        name: "log4j2",
        all: LOG4J,
        any: 0,
        names: &[
            ("instant", Field::Time),
            ("timeMillis", Field::Time),
            ("loggerName", Field::Logger),
            ("thread", Field::ThreadName),
            ("threadId", Field::Thread),
            ("thrown", Field::Exception),
            ("source.file", Field::File),
            ("source.line", Field::Line),
            ("source.method", Field::Function),
        ],
        lift: &[],
        scale: Scale::Plain,
    },
    Dialect {
        name: "monolog",
        all: LEVEL_NAME,
        any: CHANNEL | LEVEL_NUMBER,
        names: &[
            ("level_name", Field::Level),
            ("datetime", Field::Time),
            ("channel", Field::Logger),
            ("context.exception", Field::Exception),
        ],
        lift: &[],
        scale: Scale::Hundreds,
    },
    Dialect {
        name: "logstash",
        all: LOGSTASH,
        any: 0,
        names: &[("stack_trace", Field::Stack)],
        lift: &[],
        scale: Scale::Plain,
    },
    Dialect {
        name: "pino",
        all: LEVEL_NUMBER | PID | HOSTNAME,
        any: TIMED,
        names: PINO,
        lift: &[],
        scale: Scale::Tens,
    },
    Dialect {
        name: "pino",
        all: LEVEL_NUMBER | BUNYAN_V,
        any: TIMED,
        names: PINO,
        lift: &[],
        scale: Scale::Tens,
    },
    Dialect {
        name: "dotnet",
        all: LOG_LEVEL,
        any: CATEGORY,
        names: &[
            ("Timestamp", Field::Time),
            ("LogLevel", Field::Level),
            ("Category", Field::Logger),
            ("Message", Field::Message),
            ("Exception", Field::Exception),
        ],
        lift: &[],
        scale: Scale::Plain,
    },
    Dialect {
        name: "mongodb",
        all: SHORT_TIME | SEVERITY_LETTER | COMPONENT,
        any: 0,
        names: &[
            ("t", Field::Time),
            ("s", Field::Level),
            ("c", Field::Logger),
            ("ctx", Field::ThreadName),
        ],
        lift: &[],
        scale: Scale::Plain,
    },
    Dialect {
        name: "python",
        all: PYTHON,
        any: 0,
        names: &[
            ("asctime", Field::Time),
            ("created", Field::Time),
            ("levelno", Field::Level),
            ("name", Field::Logger),
            ("exc_text", Field::Exception),
            ("filename", Field::File),
        ],
        lift: &[],
        scale: Scale::Plain,
    },
    Dialect {
        name: "loguru-record",
        all: LEVEL_RECORD,
        any: 0,
        names: &[
            ("name", Field::Logger),
            ("file.path", Field::File),
            ("process.id", Field::Pid),
            ("process.name", Field::Process),
            ("thread.id", Field::Thread),
            ("thread.name", Field::ThreadName),
        ],
        lift: &["extra"],
        scale: Scale::Plain,
    },
    Dialect {
        name: "log15",
        all: LVL | SHORT_TIME,
        any: 0,
        names: &[("t", Field::Time), ("caller", Field::Caller)],
        lift: &[],
        scale: Scale::Plain,
    },
    Dialect {
        name: "syslog-json",
        all: SYSLOG,
        any: 0,
        names: &[
            ("severity", Field::Level),
            ("syslogseverity", Field::Level),
            ("syslogseverity-text", Field::Level),
            ("priority", Field::Level),
            ("programname", Field::Script),
            ("program", Field::Script),
            ("appname", Field::Script),
            ("app-name", Field::Script),
            ("procid", Field::Pid),
            ("timereported", Field::Time),
        ],
        lift: &[],
        scale: Scale::Syslog,
    },
    Dialect {
        name: "go",
        all: GO,
        any: 0,
        names: &[
            ("caller", Field::Caller),
            ("stacktrace", Field::Stack),
            ("source.file", Field::File),
            ("source.line", Field::Line),
            ("source.function", Field::Function),
            ("t", Field::Time),
            ("err", Field::Exception),
        ],
        lift: &[],
        scale: Scale::Plain,
    },
    Dialect {
        name: "rust-tracing",
        all: TARGET,
        any: 0,
        names: RUST,
        lift: &[],
        scale: Scale::Plain,
    },
    Dialect {
        // Of Pino without its `base`: only a name and milliseconds are left to tell.
        name: "pino",
        all: LEVEL_NUMBER | EPOCH_MS | NAME,
        any: 0,
        names: PINO,
        lift: &[],
        scale: Scale::Plain,
    },
];

const PINO: &[(&str, Field)] = &[("name", Field::Logger), ("err", Field::Exception)];

const RUST: &[(&str, Field)] = &[
    ("target", Field::Logger),
    ("filename", Field::File),
    ("line_number", Field::Line),
    ("threadName", Field::ThreadName),
];

const JOURNALD: &[(&str, Field)] = &[
    ("__REALTIME_TIMESTAMP", Field::Time),
    ("_SOURCE_REALTIME_TIMESTAMP", Field::Time),
    ("PRIORITY", Field::Level),
    ("MESSAGE", Field::Message),
    ("_PID", Field::Pid),
    ("SYSLOG_PID", Field::Pid),
    ("SYSLOG_IDENTIFIER", Field::Script),
    ("_COMM", Field::Process),
    ("_HOSTNAME", Field::Host),
    ("CODE_FILE", Field::File),
    ("CODE_LINE", Field::Line),
    ("CODE_FUNC", Field::Function),
    ("TID", Field::Thread),
];
