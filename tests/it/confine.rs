//! Processes for which the kernel refuses some system calls, as it does when a limit of the machine is reached.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// What is refused.
#[derive(Clone, Copy, Debug)]
pub enum Refuse {
    /// `fs.inotify.max_user_watches` is reached: ENOSPC.
    Watches,
    /// `fs.inotify.max_user_instances` is reached: EMFILE.
    Instances,
}

/// Installs a filter for the process to come (seccomp). It needs no privilege, and touches nobody else's limits.
pub fn refusing(command: &mut Command, what: Refuse) -> &mut Command {
    let (call, errno) = match what {
        Refuse::Watches => (libc::SYS_inotify_add_watch, libc::ENOSPC),
        Refuse::Instances => (libc::SYS_inotify_init1, libc::EMFILE),
    };
    let op = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    // Loads the number of the call; if it is this one, answers with the error, else lets it pass.
    let mut program = [
        op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, call as u32),
        op(
            libc::BPF_RET | libc::BPF_K,
            0,
            0,
            libc::SECCOMP_RET_ERRNO | errno as u32,
        ),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    // SAFETY: between fork and exec only system calls are made; the program outlives them.
    unsafe {
        command.pre_exec(move || {
            let filter = libc::sock_fprog {
                len: program.len() as u16,
                filter: program.as_mut_ptr(),
            };
            let filtered = libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0;
            if filtered {
                Ok(())
            } else {
                Err(std::io::Error::last_os_error())
            }
        });
    }
    command
}
