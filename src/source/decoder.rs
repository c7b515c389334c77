//! Decompressors, and where they run.
//!
//! What a decompressor needs is chosen by whoever made the archive: a gz takes 40 KiB, an xz 9 MiB as loguru makes it
//! and 65 MiB with `-9`, a zst up to 128 MiB with `--long`. The agent promises to stay small, whatever it finds. So all
//! but gz runs *apart*: in a short-lived process of the same program (`logagent unpack`), which gets the archive as its
//! standard input and writes the plain bytes to its standard output. Its memory is gone with it. Where no process can
//! be started, and in tests of the library, the agent decompresses itself: nothing of an archive is left out for this.
//!
//! What the other process ends with tells what the archive was: 0 whole, [`TOO_SHORT`] if it ends too early (it may
//! still be written), anything else damaged, with the reason on standard error.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use super::archive::Kind;

/// Exit code of `unpack` for an archive that ends too early.
pub const TOO_SHORT: i32 = 1;

/// xz files made with `-9` need 65 MiB; a dictionary beyond this is refused.
const XZ_MEMORY: u64 = 200 << 20;

/// zstd windows up to 128 MiB exist (`--long`); larger ones have to be asked for and are refused.
const ZSTD_WINDOW_LOG: u32 = 27;

/// So much of what the other process says is kept.
const SAID: u64 = 1000;

impl Kind {
    /// The name by which `unpack` knows it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Gz => "gz",
            Kind::Bz2 => "bz2",
            Kind::Xz => "xz",
            Kind::Lzma => "lzma",
            Kind::Zst => "zst",
            Kind::Zip => "zip",
            Kind::Tar => "tar",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Kind> {
        let all = [
            Kind::Gz,
            Kind::Bz2,
            Kind::Xz,
            Kind::Lzma,
            Kind::Zst,
            Kind::Zip,
            Kind::Tar,
        ];
        all.into_iter().find(|k| k.name() == name)
    }
}

/// The plain bytes of one compressed file, decompressed here.
///
/// # Errors
///
/// If the decompressor cannot be made, or `kind` holds files rather than being one.
pub fn here(file: File, kind: Kind) -> io::Result<Box<dyn Read>> {
    Ok(match kind {
        Kind::Gz => Box::new(flate2::read::MultiGzDecoder::new(file)),
        Kind::Bz2 => Box::new(bzip2::read::MultiBzDecoder::new(file)),
        Kind::Zst => {
            let mut decoder = zstd::stream::read::Decoder::new(file)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        Kind::Xz | Kind::Lzma => {
            // Only xz streams can follow one another in a file.
            let stream = match kind {
                Kind::Lzma => liblzma::stream::Stream::new_lzma_decoder(XZ_MEMORY)?,
                _ => liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?,
            };
            Box::new(liblzma::read::XzDecoder::new_stream(file, stream))
        }
        Kind::Tar => Box::new(file),
        Kind::Zip => return Err(io::ErrorKind::InvalidInput.into()),
    })
}

/// The plain bytes of one compressed file, by `program` where there is one.
///
/// # Errors
///
/// As for [`here`].
pub fn reader(file: File, kind: Kind, program: Option<&Path>) -> io::Result<Box<dyn Read>> {
    let apart = program
        .filter(|_| kind != Kind::Gz)
        .and_then(|program| Apart::start(program, &file, kind, None));
    match apart {
        Some(apart) => Ok(Box::new(apart)),
        None => here(file, kind),
    }
}

/// The member of a zip with this number.
///
/// # Errors
///
/// If it cannot be read.
pub fn member(file: File, index: usize, take: &mut dyn FnMut(&mut dyn Read) -> io::Result<()>) -> io::Result<()> {
    let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(broken)?;
    let mut member = archive.by_index(index).map_err(broken)?;
    take(&mut member)
}

/// What is wrong with a zip.
pub fn broken(error: zip::result::ZipError) -> io::Error {
    match error {
        zip::result::ZipError::Io(e) => e,
        other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
    }
}

/// `logagent unpack`: from standard input to standard output; of a zip the member with this number.
///
/// # Errors
///
/// Of kind `UnexpectedEof` where the archive ends too early; any other where it is damaged, or nobody reads.
pub fn unpack(kind: Kind, index: Option<usize>) -> io::Result<()> {
    let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    match index {
        Some(index) => member(file, index, &mut |reader| io::copy(reader, &mut out).map(drop)),
        None => io::copy(&mut here(file, kind)?, &mut out).map(drop),
    }
}

/// The plain bytes as another process writes them.
pub struct Apart {
    child: Child,
    plain: ChildStdout,
    ended: bool,
}

impl Apart {
    /// Has `program` unpack the file; `None` if that cannot be.
    #[must_use]
    pub fn start(program: &Path, file: &File, kind: Kind, index: Option<usize>) -> Option<Apart> {
        // Opened anew, for a position of its own.
        let same = File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
        let mut command = Command::new(program);
        command.args(["unpack", kind.name()]);
        if let Some(index) = index {
            command.arg(index.to_string());
        }
        let started = command
            .stdin(same)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        match started {
            Ok(mut child) => {
                let plain = child.stdout.take()?;
                let ended = false;
                Some(Apart { child, plain, ended })
            }
            Err(error) => {
                tracing::debug!(%error, "no process can be started; decompressing here");
                None
            }
        }
    }

    /// How the other process ended.
    fn end(&mut self) -> io::Result<()> {
        let mut said = String::new();
        if let Some(errors) = self.child.stderr.take() {
            // It may be anything; what can be shown of it is shown.
            let _ = errors.take(SAID).read_to_string(&mut said);
        }
        let status = self.child.wait()?;
        match status.code() {
            Some(0) => Ok(()),
            Some(TOO_SHORT) => Err(io::ErrorKind::UnexpectedEof.into()),
            _ if said.is_empty() => Err(io::Error::new(io::ErrorKind::InvalidData, status.to_string())),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, said.trim().to_owned())),
        }
    }
}

impl Read for Apart {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.ended || buf.is_empty() {
            return Ok(0);
        }
        let n = self.plain.read(buf)?;
        if n == 0 {
            self.ended = true;
            self.end()?;
        }
        Ok(n)
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        // It may have ended already; either way it is waited for, so that no zombie stays.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
