//! Records that outlive their line.

use std::borrow::Cow;

use super::{Bound, Cause, Exception, Record, Text, Token};

fn text(t: Option<Text<'_>>) -> Option<Text<'static>> {
    t.map(Text::into_owned)
}

fn token(t: Option<Token<'_>>) -> Option<Token<'static>> {
    t.map(Token::into_owned)
}

fn pair<'a>((a, b): (Text<'a>, Text<'a>)) -> (Text<'static>, Text<'static>) {
    (a.into_owned(), b.into_owned())
}

fn cause(c: Cause<'_>) -> Cause<'static> {
    Cause {
        kind: c.kind.into_owned(),
        value: c.value.into_owned(),
        frame: c.frame.map(pair),
    }
}

impl Exception<'_> {
    #[must_use]
    pub fn into_owned(self) -> Exception<'static> {
        Exception {
            kind: text(self.kind),
            value: text(self.value),
            traceback: text(self.traceback),
            chain: self.chain.into_iter().map(pair).collect(),
            frame: self.frame.map(pair),
            others: self.others.into_iter().map(cause).collect(),
        }
    }
}

impl Bound<'_> {
    #[must_use]
    pub fn into_owned(self) -> Bound<'static> {
        Bound {
            execution_id: text(self.execution_id),
            script_name: text(self.script_name),
            tags: token(self.tags),
            event: self.event,
            metadata: token(self.metadata),
            status: text(self.status),
            error: text(self.error),
            function_name: text(self.function_name),
            context: token(self.context),
            confidence: self.confidence,
            fixes: text(self.fixes),
            rationale: text(self.rationale),
            from_key: text(self.from_key),
            to_key: text(self.to_key),
            relation: text(self.relation),
            parent_execution_id: text(self.parent_execution_id),
            embeddings: token(self.embeddings),
            db_store: self.db_store,
            log_category: text(self.log_category),
        }
    }
}

impl Record<'_> {
    #[must_use]
    pub fn into_owned<'b>(self) -> Record<'b> {
        Record {
            time: self.time,
            level: Cow::Owned(self.level.into_owned()),
            level_no: self.level_no,
            message: self.message.into_owned(),
            function_name: text(self.function_name),
            file_path: text(self.file_path),
            line_number: self.line_number,
            module: text(self.module),
            logger: text(self.logger),
            pid: self.pid,
            process_name: text(self.process_name),
            thread_id: self.thread_id,
            thread_name: text(self.thread_name),
            host: text(self.host),
            start: self.start,
            exception: self.exception.map(|e| Box::new(e.into_owned())),
            extra: self
                .extra
                .into_iter()
                .map(|(n, v)| (n.into_owned(), v.into_owned()))
                .collect(),
            bound: self.bound.into_owned(),
            fingerprint: self.fingerprint,
            marks: self.marks,
        }
    }
}
