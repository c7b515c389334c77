//! Reading what is inside archives: gz, bz2, xz, lzma, zst, zip, tar, and tar in any of these.
//!
//! The kind is told by the first bytes, since `compression` of loguru may be any function and names lie. Everything is
//! read forward, member after member, in bounded memory; a zip needs its directory at the end of the file first. An
//! archive that is still being written ends too early: that is an error here, and the caller tries again when the file
//! has changed.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use super::decoder::{self, Apart};

/// So many first bytes tell the kind.
pub const MAGIC: usize = 512;

/// What is done with a member: its path, `None` where the archive is one compressed file, and its bytes.
pub type Visit<'a> = dyn FnMut(Option<&Path>, &mut dyn Read) -> io::Result<()> + 'a;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Gz,
    Bz2,
    Xz,
    Lzma,
    Zst,
    Zip,
    Tar,
}

/// The kind of archive that begins so, if it is one.
#[must_use]
pub fn kind(start: &[u8]) -> Option<Kind> {
    let has = |at: usize, magic: &[u8]| start.get(at..).is_some_and(|s| s.starts_with(magic));
    let lzma = has(0, &[0x5d, 0, 0])
        && start
            .get(5..13)
            .is_some_and(|s| s == [0xff; 8] || s.get(5..) == Some(&[0; 3]));
    match () {
        () if has(0, &[0x1f, 0x8b, 8]) => Some(Kind::Gz),
        () if has(0, b"BZh") && (has(4, b"1AY&SY") || has(4, &[0x17, 0x72, 0x45, 0x38, 0x50, 0x90])) => Some(Kind::Bz2),
        () if has(0, &[0xfd, b'7', b'z', b'X', b'Z', 0]) => Some(Kind::Xz),
        () if has(0, &[0x28, 0xb5, 0x2f, 0xfd]) => Some(Kind::Zst),
        () if has(0, b"PK\x03\x04") || has(0, b"PK\x05\x06") => Some(Kind::Zip),
        () if has(257, b"ustar") => Some(Kind::Tar),
        () if lzma => Some(Kind::Lzma),
        () => None,
    }
}

/// Calls `visit` with each regular file inside: its path, `None` where the archive is one compressed file, and its
/// bytes. `visit` may leave bytes unread. `program` decompresses what takes much memory, see [`decoder`].
///
/// # Errors
///
/// Of kind `UnexpectedEof` where the archive ends too early; any other where it is damaged, and what `visit` returns.
pub fn each_member(file: File, kind: Kind, program: Option<&Path>, visit: &mut Visit<'_>) -> io::Result<()> {
    match kind {
        Kind::Zip => zip(file, program, visit),
        Kind::Tar => tar(&mut BufReader::new(file), visit),
        _ => inner(decoder::reader(file, kind, program)?, visit),
    }
}

/// One compressed file, or a tar in it.
fn inner(mut reader: impl Read, visit: &mut Visit<'_>) -> io::Result<()> {
    let mut start = Vec::with_capacity(MAGIC);
    reader.by_ref().take(MAGIC as u64).read_to_end(&mut start)?;
    let is_tar = kind(&start) == Some(Kind::Tar);
    let mut whole = Cursor::new(start).chain(reader);
    if is_tar {
        tar(&mut whole, visit)
    } else {
        visit(None, &mut whole)
    }
}

fn tar(reader: &mut dyn Read, visit: &mut Visit<'_>) -> io::Result<()> {
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries()? {
        let mut entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path: PathBuf = entry.path()?.into_owned();
        let mut whole = Whole {
            left: entry.size(),
            inner: &mut entry,
        };
        visit(Some(&path), &mut whole)?;
        io::copy(&mut whole, &mut io::sink())?;
    }
    // What surrounds the tar has to be complete too, or more members may follow.
    io::copy(archive.into_inner(), &mut io::sink())?;
    Ok(())
}

/// A tar member that must have the size that its header says.
struct Whole<'a> {
    inner: &'a mut dyn Read,
    left: u64,
}

impl Read for Whole<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        if n == 0 && self.left > 0 && !buf.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left = self.left.saturating_sub(n as u64);
        Ok(n)
    }
}

fn zip(file: File, program: Option<&Path>, visit: &mut Visit<'_>) -> io::Result<()> {
    use zip::CompressionMethod::{Deflated, Stored};
    let same = file.try_clone()?;
    let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(decoder::broken)?;
    for index in 0..archive.len() {
        // The directory alone: a decompressor is made when it is known where.
        let listed = archive.by_index_raw(index).map_err(decoder::broken)?;
        if !listed.is_file() {
            continue;
        }
        let path = PathBuf::from(listed.name());
        let light = matches!(listed.compression(), Stored | Deflated);
        drop(listed);
        let apart = program
            .filter(|_| !light)
            .and_then(|program| Apart::start(program, &same, Kind::Zip, Some(index)));
        match apart {
            Some(mut apart) => visit(Some(&path), &mut apart)?,
            None => visit(Some(&path), &mut archive.by_index(index).map_err(decoder::broken)?)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};

    const TEXT: &[u8] = b"one\ntwo\nthree\n";

    fn contents(data: &[u8]) -> io::Result<Vec<(Option<PathBuf>, Vec<u8>)>> {
        let mut file = tempfile::tempfile()?;
        file.write_all(data)?;
        file.rewind()?;
        let mut out = Vec::new();
        each_member(file, kind(data).expect("an archive"), None, &mut |path, reader| {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes)?;
            out.push((path.map(Path::to_path_buf), bytes));
            Ok(())
        })?;
        Ok(out)
    }

    fn gz(data: &[u8]) -> Vec<u8> {
        let mut w = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        w.write_all(data).unwrap();
        w.finish().unwrap()
    }

    fn tarred() -> Vec<u8> {
        let mut w = tar::Builder::new(Vec::new());
        for name in ["d/a.log", "b.log"] {
            let mut header = tar::Header::new_ustar();
            header.set_size(TEXT.len() as u64);
            header.set_mode(0o644);
            w.append_data(&mut header, name, TEXT).unwrap();
        }
        w.into_inner().unwrap()
    }

    fn single() -> Vec<Vec<u8>> {
        let mut lzma = Vec::new();
        let options = liblzma::stream::LzmaOptions::new_preset(6).unwrap();
        let stream = liblzma::stream::Stream::new_lzma_encoder(&options).unwrap();
        let mut w = liblzma::write::XzEncoder::new_stream(&mut lzma, stream);
        w.write_all(TEXT).unwrap();
        w.finish().unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
        xz.write_all(TEXT).unwrap();
        let mut bz = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
        bz.write_all(TEXT).unwrap();
        vec![
            gz(TEXT),
            lzma,
            xz.finish().unwrap(),
            bz.finish().unwrap(),
            zstd::encode_all(TEXT, 3).unwrap(),
        ]
    }

    #[test]
    fn every_single_file_format_gives_its_bytes() {
        for data in single() {
            assert_eq!(contents(&data).unwrap(), [(None, TEXT.to_vec())], "{:?}", kind(&data));
        }
    }

    #[test]
    fn members_of_tar_and_zip_are_visited_by_name() {
        let expected = [
            (Some("d/a.log".into()), TEXT.to_vec()),
            (Some("b.log".into()), TEXT.to_vec()),
        ];
        assert_eq!(contents(&tarred()).unwrap(), expected);
        assert_eq!(contents(&gz(&tarred())).unwrap(), expected);
        let mut w = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for name in ["d/a.log", "b.log"] {
            w.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            w.write_all(TEXT).unwrap();
        }
        assert_eq!(contents(&w.finish().unwrap().into_inner()).unwrap(), expected);
    }

    #[test]
    fn an_archive_that_ends_too_early_says_so() {
        for data in single().into_iter().chain([gz(&tarred())]) {
            let cut = &data[..data.len() - 6];
            let error = contents(cut).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{:?}: {error}", kind(&data));
        }
        assert_eq!(
            contents(&tarred()[..516]).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }

    #[test]
    fn text_is_no_archive() {
        assert_eq!(kind(b"{\"text\": 1}\n"), None);
        assert_eq!(kind(b"]\0\0 not lzma"), None);
        assert_eq!(kind(b""), None);
    }
}
