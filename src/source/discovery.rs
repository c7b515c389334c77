//! What a file is, given how its content stands to the streams that begin as it does. Pure.
//!
//! A file may be
//!
//! * a stream of its own ([`Verdict::New`]), whatever others begin with;
//! * one that has no file any more, found again under another name or inode, restored, or in an archive
//!   ([`Verdict::Same`]): its content up to the stream's cursor is the stream's;
//! * a copy of one ([`Verdict::Copy`]): nothing of it is delivered, its lines are counted;
//! * a copy that has gone on beyond its original ([`Verdict::Fork`]): only what it has beyond is delivered.
//!
//! # Written anew, or made of what was there
//!
//! Equal content alone makes no copy: a nightly job says the same each night, six scripts say the same in one second. So
//! it is asked whether the file's content is *older than the file*. It is,
//!
//! * where the file was last written when the stream was: its times were kept (`mv`, `cp -p`, gzip, logrotate), or it
//!   is the stream's very file (same inode, made at the same instant) that has only grown;
//! * where its last record names a time, and the file was made more than [`SECOND`] after that: whoever wrote the file
//!   then did not write that record then;
//! * where the stream has no file any more, and its last record names the very instant, to a part of a second;
//! * where it was made while the stream's file still had this content, bears a rotated form of that file's name, and
//!   the content went from there afterwards: what `copytruncate` leaves, and a program that compresses its own log.
//!
//! Otherwise it was written anew, and is a stream of its own: doubling is the smaller error, and the numbers of
//! [`super::survey`] see to it that neither is lost.
//!
//! A copy is whole: a file that is only the beginning of another is a stream of its own, once it is quiet. Only what
//! `copytruncate` leaves of a file that was written to meanwhile may lack an end that was read before.

use super::StreamId;

/// A record's time is at most this far from the instant at which its writer wrote it; nanoseconds.
pub const SECOND: i64 = 1_000_000_000;

/// The file that is looked at. Times are nanoseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// In an archive: it does not grow.
    pub archive: bool,
    /// Its bytes, as far as they matter: at least the extent of the longest stream that it could be.
    pub size: u64,
    /// When it was made; when it was last written to where the file system does not say.
    pub born: i64,
    /// The file system says when it was made.
    pub dated: bool,
    /// When it was last written to.
    pub mtime: i64,
    /// The time that its first record names.
    pub first: Option<i64>,
    /// It has not grown for `files.finish_line_after`.
    pub quiet: bool,
    /// It has not been there for `files.finish_line_after`.
    pub young: bool,
    /// Its times were set by `touch` alone.
    pub touched: bool,
    /// `files.copies = "ship"`.
    pub ship_copies: bool,
    /// When the last of the streams with the same content was written to; [`judge`] finds out.
    pub beside: i64,
}

/// A known stream that begins alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub id: StreamId,
    /// How far it was read.
    pub offset: u64,
    /// How long its content is, as far as is known.
    pub extent: u64,
    /// Another file holds it.
    pub live: bool,
    /// That file has bytes that were not read yet.
    pub unread: bool,
    /// The contents are the same as far as both go.
    pub equal: bool,
    /// The file's content up to `offset` is the stream's.
    pub at_cursor: bool,
    /// The file is the very one that held the stream: its inode, made at the same instant.
    pub same_file: bool,
    /// When its file was last written to, as far as was seen.
    pub mtime: i64,
    /// When its file was seen to be gone, unlinked, or to hold other content; `None` if it was not, or nobody looked.
    pub lost: Option<i64>,
    /// The time that the last record of the common content names.
    pub last: Option<i64>,
    /// The file's name is a rotated form of the stream's.
    pub rotated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    New,
    Same(StreamId),
    Copy(StreamId),
    Fork(StreamId),
    /// It begins like this stream: ask again when it has parted, or is quiet.
    Wait(StreamId),
}

/// Says what the file is.
#[must_use]
pub fn judge(mut seen: Seen, candidates: &[Candidate]) -> Verdict {
    let alike = candidates.iter().filter(|c| c.equal || c.at_cursor);
    seen.beside = alike.map(|c| c.mtime).max().unwrap_or(0);
    candidates
        .iter()
        .filter_map(|c| {
            if c.live { beside(seen, c) } else { again(seen, c) }.map(|v| (rank(v), evidence(seen, c), c, v))
        })
        .max_by_key(|(rank, evidence, c, _)| (*rank, c.offset, *evidence, c.mtime, c.id))
        .map_or(Verdict::New, |(.., verdict)| verdict)
}

/// What is found again goes before copies, and these before what must be waited for.
fn rank(v: Verdict) -> u8 {
    match v {
        Verdict::New => 0,
        Verdict::Wait(_) => 1,
        Verdict::Copy(_) => 2,
        Verdict::Fork(_) => 3,
        Verdict::Same(_) => 4,
    }
}

fn evidence(seen: Seen, c: &Candidate) -> u8 {
    if c.same_file { 2 } else { u8::from(is_kept(seen, c)) }
}

/// The file was made more than a second after what the last common record names. Made within a second of when others
/// with this content were written, it may still be one of several that said the same at once, by a clock or a zone that
/// is not ours: unless the times are too fine, or too far apart, for that.
fn is_older_than_file(seen: Seen, c: &Candidate) -> bool {
    let at_once = seen.born <= seen.beside.saturating_add(SECOND);
    let coarse = |first: i64, last: i64| first % SECOND == 0 && last % SECOND == 0 && last - first <= SECOND;
    let several = at_once && seen.first.zip(c.last).is_some_and(|(first, last)| coarse(first, last));
    !several && c.last.is_some_and(|last| seen.born > last.saturating_add(SECOND))
}

/// The file was last written to when the stream was, to the second where no more was kept, and was made after that.
fn is_kept(seen: Seen, c: &Candidate) -> bool {
    // What has more than the stream had when it was written to last was not made of it before that.
    let within = seen.size <= c.extent;
    let seconds = |t: i64| t - t.rem_euclid(SECOND);
    let at_once = seen.mtime == c.mtime || seen.mtime == seconds(c.mtime);
    at_once && (c.same_file || (within && (!seen.dated || seen.mtime < seen.born)))
}

/// The file took over the content before it went from where it was.
fn is_left_over(seen: Seen, c: &Candidate) -> bool {
    // Times that were kept from a later writing say that the same was written once more.
    let once_more = seen.dated && seen.mtime < seen.born && seen.mtime > c.mtime && seen.size <= c.extent;
    c.rotated && !c.same_file && !once_more && c.lost.is_none_or(|lost| seen.born <= lost)
}

/// Whether the file is `c`, of which no other file is known.
fn again(seen: Seen, c: &Candidate) -> Option<Verdict> {
    if !c.at_cursor {
        // What was read of the original while the copy was made is not in the copy.
        let part = c.equal && seen.size < c.offset && c.lost.is_some() && is_left_over(seen, c) && !seen.ship_copies;
        return part.then_some(Verdict::Copy(c.id));
    }
    let grown = c.same_file && seen.size > c.extent;
    let kept = is_kept(seen, c) || (c.same_file && (seen.touched || c.last.is_some()));
    // Nobody else names the same part of a second.
    let exact = c.last.is_some_and(|last| last % SECOND != 0);
    let older = exact || is_older_than_file(seen, c) || is_left_over(seen, c);
    (grown || kept || older).then_some(Verdict::Same(c.id))
}

/// What the file is beside `c`, whose own file is there.
fn beside(seen: Seen, c: &Candidate) -> Option<Verdict> {
    if !c.equal || seen.ship_copies {
        return None;
    }
    let whole = seen.size >= c.extent;
    let left = c.lost.is_some() && is_left_over(seen, c);
    if left && seen.size <= c.extent {
        return Some(Verdict::Copy(c.id));
    }
    let older = is_kept(seen, c) || is_older_than_file(seen, c) || left;
    if whole && older && seen.born >= c.mtime {
        return Some(match () {
            () if seen.size == c.extent => Verdict::Copy(c.id),
            () if c.unread => Verdict::Wait(c.id),
            () => Verdict::Fork(c.id),
        });
    }
    // It may be a copy that is being made, or whose original is about to be truncated.
    let older = seen.first.is_some_and(|first| seen.born > first.saturating_add(SECOND));
    let making = (older && !whole && !seen.quiet) || (c.rotated && seen.young);
    (making && !seen.archive).then_some(Verdict::Wait(c.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written ten seconds after what its records name.
    const SEEN: Seen = Seen {
        archive: false,
        size: 100,
        born: 100 * SECOND,
        dated: true,
        mtime: 100 * SECOND,
        first: Some(80 * SECOND),
        quiet: true,
        young: false,
        touched: false,
        ship_copies: false,
        beside: 0,
    };
    const UNTIMED: Seen = Seen { first: None, ..SEEN };
    const GONE: Candidate = Candidate {
        id: 7,
        offset: 100,
        extent: 100,
        live: false,
        unread: false,
        equal: true,
        at_cursor: true,
        same_file: false,
        mtime: 91 * SECOND,
        lost: Some(95 * SECOND),
        last: Some(90 * SECOND),
        rotated: false,
    };
    const SILENT: Candidate = Candidate { last: None, ..GONE };
    const LIVE: Candidate = Candidate {
        live: true,
        lost: None,
        ..GONE
    };

    #[test]
    fn without_a_stream_that_begins_alike_a_file_is_new() {
        assert_eq!(judge(SEEN, &[]), Verdict::New);
    }

    #[test]
    fn content_that_is_older_than_its_file_is_the_stream_that_went() {
        assert_eq!(judge(SEEN, &[GONE]), Verdict::Same(7));
        let kept = Seen {
            mtime: 91 * SECOND,
            ..UNTIMED
        };
        assert_eq!(judge(kept, &[SILENT]), Verdict::Same(7), "moved with its times");
    }

    #[test]
    fn a_file_that_says_the_same_again_is_a_stream_of_its_own() {
        assert_eq!(judge(UNTIMED, &[SILENT]), Verdict::New, "a nightly job");
        assert_eq!(judge(UNTIMED, &[Candidate { live: true, ..SILENT }]), Verdict::New);
        let at_once = Seen {
            born: 90 * SECOND,
            mtime: 90 * SECOND,
            ..SEEN
        };
        let other = Candidate {
            mtime: 89 * SECOND,
            ..LIVE
        };
        assert_eq!(judge(at_once, &[other]), Verdict::New, "two scripts in one second");
        // The clock of the file system is coarse: the second file can bear the times of the first.
        let same_tick = Seen {
            born: 90 * SECOND,
            mtime: 90 * SECOND,
            ..UNTIMED
        };
        let silent = Candidate {
            live: true,
            mtime: 90 * SECOND,
            ..SILENT
        };
        assert_eq!(judge(same_tick, &[silent]), Verdict::New, "two files of one moment");
    }

    #[test]
    fn files_that_say_the_same_second_at_once_are_several_though_the_clock_says_another() {
        let coarse = Seen {
            first: Some(90 * SECOND),
            ..SEEN
        };
        let others = [99, 97].map(|at| Candidate {
            mtime: at * SECOND + SECOND / 2,
            ..LIVE
        });
        assert_eq!(judge(coarse, &others), Verdict::New);
        assert_eq!(judge(coarse, &others[1..]), Verdict::Copy(7), "made later");
        let fine = Seen {
            first: Some(90 * SECOND - 1),
            ..SEEN
        };
        assert_eq!(judge(fine, &others), Verdict::Copy(7));
    }

    #[test]
    fn a_file_rewritten_in_place_with_the_same_text_is_new_and_one_that_was_touched_is_not() {
        let own = Candidate {
            same_file: true,
            ..SILENT
        };
        assert_eq!(judge(UNTIMED, &[own]), Verdict::New);
        let touched = Seen {
            touched: true,
            ..UNTIMED
        };
        assert_eq!(judge(touched, &[own]), Verdict::Same(7));
        let grown = Seen { size: 101, ..UNTIMED };
        assert_eq!(judge(grown, &[own]), Verdict::Same(7));
    }

    #[test]
    fn what_copytruncate_leaves_is_the_stream_though_it_names_no_time_and_lacks_the_end() {
        let truncated = Candidate {
            rotated: true,
            lost: Some(101 * SECOND),
            ..SILENT
        };
        assert_eq!(judge(UNTIMED, &[truncated]), Verdict::Same(7));
        let part = Candidate {
            at_cursor: false,
            offset: 120,
            ..truncated
        };
        assert_eq!(judge(UNTIMED, &[part]), Verdict::Copy(7));
        assert_eq!(judge(UNTIMED, &[Candidate { rotated: false, ..part }]), Verdict::New);
        let young = Seen { young: true, ..UNTIMED };
        let live = Candidate {
            rotated: true,
            last: None,
            ..LIVE
        };
        assert_eq!(
            judge(young, &[live]),
            Verdict::Wait(7),
            "it may be truncated in a moment"
        );
    }

    #[test]
    fn a_copy_is_whole_and_was_made_after_its_original() {
        assert_eq!(judge(SEEN, &[LIVE]), Verdict::Copy(7));
        let early = Candidate {
            mtime: 101 * SECOND,
            ..LIVE
        };
        assert_eq!(judge(SEEN, &[early]), Verdict::New, "the original was written to later");
        let part = Candidate {
            extent: 120,
            offset: 120,
            at_cursor: false,
            ..LIVE
        };
        assert_eq!(judge(SEEN, &[part]), Verdict::New);
        assert_eq!(judge(Seen { quiet: false, ..SEEN }, &[part]), Verdict::Wait(7));
        assert_eq!(judge(SEEN, &[Candidate { equal: false, ..part }]), Verdict::New);
        let ship = Seen {
            ship_copies: true,
            ..SEEN
        };
        assert_eq!(judge(ship, &[LIVE]), Verdict::New);
    }

    #[test]
    fn of_a_copy_that_went_on_only_the_rest_is_new() {
        let grown = Seen { size: 150, ..SEEN };
        assert_eq!(judge(grown, &[LIVE]), Verdict::Fork(7));
        assert_eq!(judge(grown, &[Candidate { unread: true, ..LIVE }]), Verdict::Wait(7));
    }

    #[test]
    fn what_is_found_again_goes_before_copies_and_the_furthest_first() {
        let further = Candidate {
            id: 8,
            offset: 90,
            ..GONE
        };
        assert_eq!(judge(SEEN, &[LIVE, further]), Verdict::Same(8));
        assert_eq!(judge(SEEN, &[GONE, further]), Verdict::Same(7));
    }
}
