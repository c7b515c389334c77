//! Coming by a listening socket: systemd's, or one of our own.
//!
//! Nobody can connect before `listen`, so mode and group are set between `bind` and `listen`, and there is no moment
//! in which the wrong people get in.
//!
//! A socket file that exists is tried: if somebody answers, it is refused, with the pid of who listens; if nobody does,
//! it is left over from a kill and replaced. Anything else at that path is not touched.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::{fs, ptr};

use rustix::fs::{Gid, chown};
use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind as bind_to, listen, socket_with};

use crate::config;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// What `sun_path` takes, with its closing NUL.
const PATH_BYTES: usize = 108;

/// A listening socket, not yet served.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: UnixListener,
    /// What a client connects to, for messages.
    pub path: PathBuf,
    /// Passed by systemd, who keeps listening when we stop.
    pub activated: bool,
    _file: Option<SocketFile>,
}

/// Removes our socket file when we stop, if it is still ours.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Why there is no socket. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "another process{} listens on {}: stop it, or set socket.path to another one (or to \"off\")",
        pid.map(|p| format!(" (pid {p})")).unwrap_or_default(),
        path.display()
    )]
    Live { path: PathBuf, pid: Option<i32> },
    #[error("{} exists and is no socket: remove it, or set socket.path to another one", .0.display())]
    NotASocket(PathBuf),
    #[error("the socket path {} is {len} bytes long, and the system allows {}: set socket.path to a shorter one", path.display(), PATH_BYTES - 1)]
    TooLong { path: PathBuf, len: usize },
    #[error("the directory of the socket {} does not exist: create it, or set socket.path to another one", .0.display())]
    NoDirectory(PathBuf),
    #[error("there is no group {0:?} (socket.group)")]
    NoGroup(String),
    #[error("cannot give the socket {} to group {group:?}: {error}; this user must be a member of it", path.display())]
    Group {
        path: PathBuf,
        group: String,
        error: io::Error,
    },
    #[error("cannot listen on {}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("systemd passed a socket that cannot be used: {0}; it must be a ListenStream= with a path")]
    Activation(String),
}

/// The socket that systemd passed, else one at the configured path; `None` if it is off. A missing directory is created
/// if it lies in `data_dir`.
pub fn bind(settings: &config::Socket, data_dir: &Path) -> Result<Option<Listener>, BindError> {
    if let Some(listener) = activated()? {
        return Ok(Some(listener));
    }
    settings
        .path
        .as_deref()
        .map(|path| own(path, settings, data_dir))
        .transpose()
}

fn own(path: &Path, settings: &config::Socket, data_dir: &Path) -> Result<Listener, BindError> {
    let len = path.as_os_str().len();
    if len >= PATH_BYTES {
        return Err(BindError::TooLong {
            path: path.to_owned(),
            len,
        });
    }
    let failed = |error: io::Error| BindError::Io {
        path: path.to_owned(),
        error,
    };
    let group = match settings.group.as_str() {
        "" => None,
        name => Some(group_id(name).ok_or_else(|| BindError::NoGroup(name.to_owned()))?),
    };
    prepare_directory(path, data_dir)?;
    remove_stale(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(|e| failed(e.into()))?;
    let address = SocketAddrUnix::new(path).map_err(|e| failed(e.into()))?;
    bind_to(&socket, &address).map_err(|e| failed(e.into()))?;
    let file = fs::symlink_metadata(path).map_err(failed)?;
    let file = SocketFile {
        path: path.to_owned(),
        identity: (file.dev(), file.ino()),
    };
    if let Some(gid) = group {
        chown(path, None, Some(gid)).map_err(|e| BindError::Group {
            path: path.to_owned(),
            group: settings.group.clone(),
            error: e.into(),
        })?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(settings.mode)).map_err(failed)?;
    listen(&socket, BACKLOG).map_err(|e| failed(e.into()))?;
    Ok(Listener {
        socket: UnixListener::from(socket),
        path: path.to_owned(),
        activated: false,
        _file: Some(file),
    })
}

fn prepare_directory(path: &Path, data_dir: &Path) -> Result<(), BindError> {
    let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) else {
        return Ok(());
    };
    if parent.is_dir() {
        return Ok(());
    }
    if !parent.starts_with(data_dir) {
        return Err(BindError::NoDirectory(path.to_owned()));
    }
    fs::create_dir_all(parent).map_err(|error| BindError::Io {
        path: parent.to_owned(),
        error,
    })
}

/// Removes a socket file on which nobody listens.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    let failed = |error| BindError::Io {
        path: path.to_owned(),
        error,
    };
    let metadata = match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(failed)?,
    };
    if !metadata.file_type().is_socket() {
        return Err(BindError::NotASocket(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Ok(peer) => Err(BindError::Live {
            path: path.to_owned(),
            pid: peer_of(&peer).map(|p| p.pid).filter(|pid| *pid > 0),
        }),
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(failed),
        // A full backlog, or a socket of another type: somebody is there.
        Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EPROTOTYPE)) => Err(BindError::Live {
            path: path.to_owned(),
            pid: None,
        }),
        Err(e) => Err(failed(e)),
    }
}

/// Number of a group, by name or given as digits.
pub fn group_id(name: &str) -> Option<Gid> {
    if let Ok(id) = name.parse() {
        return Some(Gid::from_raw(id));
    }
    let name = CString::new(name).ok()?;
    let mut buffer = vec![0; 64 << 10];
    // SAFETY: a group is plain data for which zeroes are valid; getgrnam_r writes to it and to the buffer, whose length
    // is given, and sets `found` to it or to null. Nothing of it outlives this function.
    let gid = unsafe {
        let mut group: libc::group = std::mem::zeroed();
        let mut found = ptr::null_mut();
        let code = libc::getgrnam_r(
            name.as_ptr(),
            &raw mut group,
            buffer.as_mut_ptr(),
            buffer.len(),
            &raw mut found,
        );
        (code == 0 && !found.is_null()).then_some(group.gr_gid)
    };
    gid.map(Gid::from_raw)
}

/// The first socket that systemd passed to this process (`LISTEN_PID`, `LISTEN_FDS`). Takes them out of the environment.
fn activated() -> Result<Option<Listener>, BindError> {
    let refuse = |why: &dyn std::fmt::Display| BindError::Activation(why.to_string());
    let mut fds = sd_notify::listen_fds().map_err(|e| refuse(&e))?;
    let Some(fd) = fds.next() else { return Ok(None) };
    if fds.next().is_some() {
        tracing::warn!("systemd passed several sockets; only the first is used");
    }
    // SAFETY: systemd opened this descriptor for this process (LISTEN_PID names it) and nobody else takes it: the
    // variables are removed with the first look.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    if !is_listening_unix_stream(&fd).map_err(|e| refuse(&e))? {
        return Err(refuse(&"not a listening Unix stream socket"));
    }
    let socket = UnixListener::from(fd);
    socket.set_nonblocking(true).map_err(|e| refuse(&e))?;
    let address = socket.local_addr().map_err(|e| refuse(&e))?;
    Ok(Some(Listener {
        path: address.as_pathname().unwrap_or(Path::new("(unnamed)")).to_owned(),
        socket,
        activated: true,
        _file: None,
    }))
}

fn is_listening_unix_stream(fd: &impl AsFd) -> rustix::io::Result<bool> {
    Ok(socket_domain(fd)? == AddressFamily::UNIX && socket_type(fd)? == SocketType::STREAM && socket_acceptconn(fd)?)
}

/// Who is at the other end: as it was when it connected (or, for a client, when the other began to listen).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// 0 where the peer lives in another process namespace.
    pub pid: i32,
    pub uid: u32,
}

/// `SO_PEERCRED`. (The safe wrappers at hand cannot represent a pid of 0.)
pub(super) fn peer_of(socket: &impl AsRawFd) -> Option<Peer> {
    let mut found = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to `found`, which is plain data of that size.
    let code = unsafe {
        let to = (&raw mut found).cast();
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            to,
            &raw mut len,
        )
    };
    (code == 0).then_some(Peer {
        pid: found.pid,
        uid: found.uid,
    })
}
