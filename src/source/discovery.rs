//! What a file is, given its beginning and the streams known by the same head. Pure.
//!
//! A file whose head nobody knows is a new stream. Where streams of that head are known, the file may be
//!
//! * one of them, found again under another name, inode or in an archive ([`Verdict::Same`]);
//! * a copy of one that is still there ([`Verdict::Copy`]): nothing of it is delivered, but it is remembered, since it
//!   may be all that is left once the original is truncated or removed;
//! * a copy that has gone on beyond its original ([`Verdict::Fork`]): the rest is delivered under the original's keys;
//! * a stream of its own that begins alike: the next generation of that head ([`Verdict::New`]).
//!
//! The bytes just below the cursor (*near*) decide; where the first line says nothing of its time, chance could make
//! them alike, and the whole prefix is compared ([`Verdict::Compare`]). Two files that lay there together when their
//! head was first seen are two streams, in the order of their paths. An archive is never a stream beside its plain file.

use super::StreamId;

/// The bytes below a stream's cursor, in the file that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Near {
    Match,
    Differs,
    /// The file ends before the cursor.
    Short,
}

/// The file that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// In an archive: it does not grow, and its size is not known.
    pub archive: bool,
    pub size: u64,
    /// Its first line cannot be another's by chance.
    pub distinctive: bool,
    /// `files.copies = "ship"`.
    pub ship_copies: bool,
}

/// A known stream of the same head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub id: StreamId,
    pub generation: u32,
    /// Its cursor.
    pub offset: u64,
    /// The file has the inode that the stream was last seen with.
    pub own: bool,
    /// Another file holds it.
    pub live: bool,
    /// That file has bytes that were not looked at yet.
    pub unread: bool,
    /// Size of that file.
    pub extent: u64,
    pub near: Near,
    /// The file was there when the stream's head was first seen.
    pub together: bool,
    /// Whether the shorter of the two is the beginning of the other, once it was compared.
    pub prefix: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    New {
        generation: u32,
    },
    Same(StreamId),
    Copy(StreamId),
    Fork(StreamId),
    /// Compare the whole prefix with this stream, then ask again.
    Compare(StreamId),
    /// Ask again when that stream's file is read to its end.
    Wait,
}

/// Says what the file is.
#[must_use]
pub fn judge(seen: Seen, candidates: &[Candidate]) -> Verdict {
    candidates
        .iter()
        .filter_map(|c| if c.live { beside(seen, c) } else { again(seen, c) }.map(|v| (rank(v), c.offset, v)))
        .max_by_key(|(rank, offset, _)| (*rank, *offset))
        .map_or_else(
            || Verdict::New {
                generation: next_generation(candidates),
            },
            |(_, _, v)| v,
        )
}

fn next_generation(candidates: &[Candidate]) -> u32 {
    candidates
        .iter()
        .map(|c| c.generation.saturating_add(1))
        .max()
        .unwrap_or(0)
}

/// What is found again goes before what must be waited for, and both before mere copies.
fn rank(v: Verdict) -> u8 {
    match v {
        Verdict::New { .. } => 0,
        Verdict::Copy(_) => 1,
        Verdict::Fork(_) => 2,
        Verdict::Wait => 3,
        Verdict::Compare(_) => 4,
        Verdict::Same(_) => 5,
    }
}

/// Whether the file is `c`, of which no other file is known.
fn again(seen: Seen, c: &Candidate) -> Option<Verdict> {
    match (c.near, c.own) {
        (Near::Match, true) => Some(Verdict::Same(c.id)),
        // The same inode with other content: rewritten in place.
        (_, true) | (Near::Differs, _) => None,
        (Near::Match, false) => alike(seen, c, Verdict::Same(c.id)),
        (Near::Short, false) if seen.distinctive => Some(Verdict::Copy(c.id)),
        (Near::Short, false) => None,
    }
}

/// What the file is beside `c`, whose own file is there.
fn beside(seen: Seen, c: &Candidate) -> Option<Verdict> {
    if seen.ship_copies || (c.together && !seen.archive) {
        return None;
    }
    if c.near != Near::Differs && c.unread {
        return Some(Verdict::Wait);
    }
    match c.near {
        Near::Differs => None,
        Near::Match if !seen.archive && seen.size > c.extent => seen.distinctive.then_some(Verdict::Fork(c.id)),
        Near::Match | Near::Short => alike(seen, c, Verdict::Copy(c.id)),
    }
}

fn alike(seen: Seen, c: &Candidate, then: Verdict) -> Option<Verdict> {
    match c.prefix {
        _ if seen.distinctive => Some(then),
        None => Some(Verdict::Compare(c.id)),
        Some(true) => Some(then),
        Some(false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: Seen = Seen {
        archive: false,
        size: 100,
        distinctive: true,
        ship_copies: false,
    };
    const GONE: Candidate = Candidate {
        id: 7,
        generation: 0,
        offset: 50,
        own: false,
        live: false,
        unread: false,
        extent: 0,
        near: Near::Match,
        together: false,
        prefix: None,
    };
    const LIVE: Candidate = Candidate {
        live: true,
        extent: 100,
        ..GONE
    };

    #[test]
    fn an_unknown_head_is_a_new_stream() {
        assert_eq!(judge(SEEN, &[]), Verdict::New { generation: 0 });
    }

    #[test]
    fn a_stream_is_found_again_under_another_inode() {
        assert_eq!(judge(SEEN, &[GONE]), Verdict::Same(7));
    }

    #[test]
    fn an_inode_with_other_content_is_the_next_generation_of_the_same_head() {
        for near in [Near::Differs, Near::Short] {
            let c = Candidate {
                own: true,
                near,
                ..GONE
            };
            assert_eq!(judge(SEEN, &[c]), Verdict::New { generation: 1 });
        }
    }

    #[test]
    fn a_later_file_with_shipped_content_is_a_copy_unless_copies_are_shipped() {
        assert_eq!(judge(SEEN, &[LIVE]), Verdict::Copy(7));
        assert_eq!(
            judge(
                Seen {
                    ship_copies: true,
                    ..SEEN
                },
                &[LIVE]
            ),
            Verdict::New { generation: 1 }
        );
    }

    #[test]
    fn files_seen_together_are_generations_but_an_archive_is_a_copy() {
        let c = Candidate { together: true, ..LIVE };
        assert_eq!(judge(SEEN, &[c]), Verdict::New { generation: 1 });
        assert_eq!(judge(Seen { archive: true, ..SEEN }, &[c]), Verdict::Copy(7));
    }

    #[test]
    fn a_head_that_chance_could_repeat_is_compared_whole() {
        let plain = Seen {
            distinctive: false,
            ..SEEN
        };
        assert_eq!(judge(plain, &[GONE]), Verdict::Compare(7));
        assert_eq!(
            judge(
                plain,
                &[Candidate {
                    prefix: Some(true),
                    ..GONE
                }]
            ),
            Verdict::Same(7)
        );
        assert_eq!(
            judge(
                plain,
                &[Candidate {
                    prefix: Some(false),
                    ..GONE
                }]
            ),
            Verdict::New { generation: 1 }
        );
        assert_eq!(
            judge(
                plain,
                &[Candidate {
                    near: Near::Short,
                    ..GONE
                }]
            ),
            Verdict::New { generation: 1 }
        );
    }

    #[test]
    fn a_copy_that_went_on_is_delivered_under_the_originals_keys() {
        let grown = Seen { size: 150, ..SEEN };
        assert_eq!(judge(grown, &[LIVE]), Verdict::Fork(7));
        assert_eq!(
            judge(
                Seen {
                    distinctive: false,
                    ..grown
                },
                &[LIVE]
            ),
            Verdict::New { generation: 1 }
        );
        assert_eq!(judge(grown, &[Candidate { unread: true, ..LIVE }]), Verdict::Wait);
    }

    #[test]
    fn what_is_found_again_wins_over_copies() {
        let other = Candidate {
            id: 8,
            generation: 1,
            ..GONE
        };
        assert_eq!(judge(SEEN, &[LIVE, other]), Verdict::Same(8));
    }
}
