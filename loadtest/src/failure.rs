//! Why a request got no answer.

use std::io;

/// Why a request got no answer, told so that the person who runs the test knows what to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Failure {
    /// Nobody listens there.
    #[error("the connection is refused: nothing listens at this address; start the gateway, or correct the address")]
    Refused,
    /// No way to the host.
    #[error("the host cannot be reached: there is no route to it, or a firewall drops what is sent")]
    Unreachable,
    /// This machine has no local port left for another connection.
    #[error(
        "this machine has run out of local ports: use fewer connections, keep them open, or widen \
         net.ipv4.ip_local_port_range"
    )]
    NoPorts,
    /// This process may open no more files.
    #[error("too many open files: raise the limit (ulimit -n), or use fewer connections")]
    NoFiles,
    /// The other side closed the connection.
    #[error("the other side closed the connection")]
    Reset,
    /// No answer in time.
    #[error("there was no answer in time")]
    Timeout,
    /// No TLS with the other side.
    #[error("TLS could not be established: is the certificate trusted (--ca, --insecure), and is it a TLS port?")]
    Tls,
    /// What came is no HTTP.
    #[error("what came is no HTTP answer: is it the right port?")]
    Malformed,
    /// Something else of the operating system.
    #[error("the connection failed")]
    Other,
}

impl Failure {
    const ALL: [Self; 9] = [
        Self::Refused,
        Self::Unreachable,
        Self::NoPorts,
        Self::NoFiles,
        Self::Reset,
        Self::Timeout,
        Self::Tls,
        Self::Malformed,
        Self::Other,
    ];

    /// The one of that name in results.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|failure| failure.name() == name)
    }

    /// What it is called in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::NoPorts => "no_ports",
            Self::NoFiles => "no_files",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Malformed => "malformed",
            Self::Other => "other",
        }
    }
}

/// The number of `EMFILE`, for which `io::ErrorKind` has no name.
const TOO_MANY_FILES: i32 = 24;

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.raw_os_error() == Some(TOO_MANY_FILES) {
            return Self::NoFiles;
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => {
                Self::Unreachable
            }
            io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse => Self::NoPorts,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => Self::Reset,
            io::ErrorKind::TimedOut => Self::Timeout,
            io::ErrorKind::InvalidData => Self::Malformed,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_system_are_told_apart() {
        let rows =
            [(111, Failure::Refused), (113, Failure::Unreachable), (99, Failure::NoPorts), (24, Failure::NoFiles)];
        for (number, expected) in rows {
            assert_eq!(Failure::from(io::Error::from_raw_os_error(number)), expected);
            assert_eq!(Failure::named(expected.name()), Some(expected));
        }
    }
}
