//! Why a request got no response.

use std::io;

/// Why a request got no response, with a hint what to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Failure {
    /// Nothing listens at the address.
    #[error("connection refused: nothing listens at this address; start the gateway or correct the address")]
    Refused,
    /// No route to the host.
    #[error("host unreachable: there is no route to it, or a firewall drops the packets")]
    Unreachable,
    /// This machine has no free local port.
    #[error(
        "this machine has run out of local ports: use fewer connections, keep them open, or widen \
         net.ipv4.ip_local_port_range"
    )]
    NoPorts,
    /// This process has reached its limit of open files.
    #[error("too many open files: raise the limit (ulimit -n), or use fewer connections")]
    NoFiles,
    /// The other side closed the connection.
    #[error("the other side closed the connection")]
    Reset,
    /// No response in time.
    #[error("no response in time")]
    Timeout,
    /// The TLS handshake failed.
    #[error(
        "TLS handshake failed: check that the certificate is trusted (--ca, --insecure) and that the port speaks TLS"
    )]
    Tls,
    /// The response is not valid HTTP.
    #[error("the response is not valid HTTP; check the port")]
    Malformed,
    /// Any other error of the operating system.
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

    /// The failure with this name in results.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|failure| failure.name() == name)
    }

    /// Its name in results.
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

/// `EMFILE`, for which `io::ErrorKind` has no name.
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
    fn system_errors_are_distinguished() {
        let rows =
            [(111, Failure::Refused), (113, Failure::Unreachable), (99, Failure::NoPorts), (24, Failure::NoFiles)];
        for (number, expected) in rows {
            assert_eq!(Failure::from(io::Error::from_raw_os_error(number)), expected);
            assert_eq!(Failure::named(expected.name()), Some(expected));
        }
    }
}
