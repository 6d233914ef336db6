//! HTTP/1.1 directly on the socket, because the generator shares the machine with what it measures:
//! `httparse` parses heads, everything else is copied once.

use bytes::{Buf, Bytes, BytesMut};
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::connection::{Keep, Request, Response};
use crate::endpoint::{Endpoint, Stream};
use crate::failure::Failure;

/// Maximum number of headers of a response.
const HEADERS: usize = 96;
/// Maximum size of a head, or of a chunk's size line.
const HEAD: usize = 64 << 10;
/// Maximum number of body bytes to keep.
pub(crate) const BODY: usize = 16 << 20;

/// A connection that carries one request after another.
pub(crate) struct Http1 {
    stream: Box<dyn Stream>,
    incoming: BytesMut,
    outgoing: Vec<u8>,
}

/// The parts of a head needed to read the body.
#[derive(Debug, Default)]
struct Head {
    status: u16,
    length: Option<usize>,
    chunked: bool,
    close: bool,
    headers: Vec<(String, String)>,
}

impl Http1 {
    /// Uses an open connection.
    pub(crate) fn new(stream: Box<dyn Stream>) -> Self {
        Self { stream, incoming: BytesMut::with_capacity(16 << 10), outgoing: Vec::with_capacity(1 << 10) }
    }

    /// The response, and whether the connection can carry another request.
    pub(crate) async fn exchange(
        &mut self,
        endpoint: &Endpoint,
        request: &Request,
    ) -> Result<(Response, bool), Failure> {
        self.render(endpoint, request);
        self.stream.write_all(&self.outgoing).await?;
        let head = loop {
            let head = self.read_head(request.keep).await?;
            // Interim responses are ignored.
            if head.status >= 200 {
                break head;
            }
        };
        let bodiless = request.method == Method::HEAD || matches!(head.status, 204 | 304);
        let body = if bodiless { Bytes::new() } else { self.read_body(&head, request.keep).await? };
        let reusable = !head.close && (bodiless || head.chunked || head.length.is_some());
        Ok((Response { status: head.status, headers: head.headers, body }, reusable))
    }

    fn render(&mut self, endpoint: &Endpoint, request: &Request) {
        let out = &mut self.outgoing;
        out.clear();
        let mut add = |part: &[u8]| out.extend_from_slice(part);
        add(request.method.as_str().as_bytes());
        add(b" ");
        add(request.target.as_bytes());
        add(b" HTTP/1.1\r\nhost: ");
        add(endpoint.authority.as_bytes());
        for (name, value) in &request.headers {
            add(b"\r\n");
            add(name.as_str().as_bytes());
            add(b": ");
            add(value.as_bytes());
        }
        if !request.body.is_empty() || matches!(request.method, Method::POST | Method::PUT | Method::PATCH) {
            add(b"\r\ncontent-length: ");
            add(request.body.len().to_string().as_bytes());
        }
        add(b"\r\n\r\n");
        add(&request.body);
    }

    async fn read_head(&mut self, keep: Keep) -> Result<Head, Failure> {
        loop {
            if let Some((head, length)) = parse(&self.incoming, keep)? {
                self.incoming.advance(length);
                return Ok(head);
            }
            self.read_more_of(HEAD).await?;
        }
    }

    async fn read_body(&mut self, head: &Head, keep: Keep) -> Result<Bytes, Failure> {
        let mut body = BytesMut::new();
        if head.chunked {
            loop {
                let size = self.read_chunk_size().await?;
                self.take(size, keep, &mut body).await?;
                self.take(2, Keep::Nothing, &mut body).await?;
                if size == 0 {
                    return Ok(body.freeze());
                }
            }
        }
        if let Some(length) = head.length {
            self.take(length, keep, &mut body).await?;
            return Ok(body.freeze());
        }
        loop {
            let rest = self.incoming.len();
            self.take(rest, keep, &mut body).await?;
            if self.stream.read_buf(&mut self.incoming).await? == 0 {
                return Ok(body.freeze());
            }
        }
    }

    /// Reads the size line of the next chunk. Trailers are not expected.
    async fn read_chunk_size(&mut self) -> Result<usize, Failure> {
        loop {
            match httparse::parse_chunk_size(&self.incoming) {
                Ok(httparse::Status::Complete((start, size))) => {
                    self.incoming.advance(start);
                    return usize::try_from(size).map_err(|_| Failure::Malformed);
                }
                Ok(httparse::Status::Partial) => self.read_more_of(HEAD).await?,
                Err(_) => return Err(Failure::Malformed),
            }
        }
    }

    async fn take(&mut self, mut length: usize, keep: Keep, body: &mut BytesMut) -> Result<(), Failure> {
        if keep == Keep::Everything && body.len().saturating_add(length) > BODY {
            return Err(Failure::Malformed);
        }
        loop {
            let part = length.min(self.incoming.len());
            let bytes = self.incoming.split_to(part);
            if keep == Keep::Everything {
                body.extend_from_slice(&bytes);
            }
            length -= part;
            if length == 0 {
                return Ok(());
            }
            self.read_more().await?;
        }
    }

    /// Reads more of something with a maximum size.
    async fn read_more_of(&mut self, most: usize) -> Result<(), Failure> {
        if self.incoming.len() > most { Err(Failure::Malformed) } else { self.read_more().await }
    }

    async fn read_more(&mut self) -> Result<(), Failure> {
        self.incoming.reserve(4 << 10);
        match self.stream.read_buf(&mut self.incoming).await? {
            0 => Err(Failure::Reset),
            _ => Ok(()),
        }
    }
}

fn parse(bytes: &[u8], keep: Keep) -> Result<Option<(Head, usize)>, Failure> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut parsed = httparse::Response::new(&mut headers);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Failure::Malformed),
    };
    let mut head =
        Head { status: parsed.code.unwrap_or_default(), close: parsed.version == Some(0), ..Head::default() };
    for header in &*parsed.headers {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        let text = || std::str::from_utf8(header.value).unwrap_or_default().trim();
        if is("content-length") {
            head.length = Some(text().parse().map_err(|_| Failure::Malformed)?);
        } else if is("transfer-encoding") {
            head.chunked = text().eq_ignore_ascii_case("chunked");
        } else if is("connection") {
            head.close = text().eq_ignore_ascii_case("close");
        }
        if keep == Keep::Everything {
            let value = String::from_utf8_lossy(header.value).into_owned();
            head.headers.push((header.name.to_ascii_lowercase(), value));
        }
    }
    Ok(Some((head, length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::{Protocol, Trust};

    #[test]
    fn a_head_is_parsed_once_it_is_complete() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-A: b\r\n\r\nabc";
        for length in 0..whole.len() - 3 {
            assert!(parse(&whole[..length], Keep::Nothing).unwrap().is_none(), "{length}");
        }
        let (head, length) = parse(whole, Keep::Everything).unwrap().unwrap();
        assert_eq!((head.status, head.length, length), (200, Some(3), whole.len() - 3));
        assert_eq!(head.headers, [("content-length".to_owned(), "3".to_owned()), ("x-a".to_owned(), "b".to_owned())]);
        assert_eq!(parse(b"SSH-2.0-x\r\n", Keep::Nothing).unwrap_err(), Failure::Malformed);
    }

    /// How a response is read if a server sends `start`, then `again` repeatedly.
    async fn taken(start: &'static [u8], again: &'static [u8], keep: Keep) -> Result<u16, Failure> {
        let (client, mut server) = tokio::io::duplex(4096);
        tokio::spawn(async move {
            let _ = server.write_all(start).await;
            while !again.is_empty() && server.write_all(again).await.is_ok() {}
        });
        let endpoint = Endpoint::new("http://127.0.0.1:1", Protocol::Http1, &Trust::System).unwrap();
        let request =
            Request { method: Method::GET, target: "/".to_owned(), headers: Vec::new(), body: Bytes::new(), keep };
        Http1::new(Box::new(client)).exchange(&endpoint, &request).await.map(|(response, _)| response.status)
    }

    #[tokio::test]
    async fn an_endless_response_is_abandoned() {
        let head = b"HTTP/1.1 200 OK\r\n";
        assert_eq!(taken(head, b"x: y\r\n", Keep::Nothing).await, Err(Failure::Malformed));
        let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;";
        assert_eq!(taken(chunked, b"x", Keep::Nothing).await, Err(Failure::Malformed));
        let open = b"HTTP/1.1 200 OK\r\n\r\n";
        assert_eq!(taken(open, b"0123456789abcdef0123456789abcdef", Keep::Everything).await, Err(Failure::Malformed));
    }

    #[tokio::test]
    async fn bodies_of_every_framing_are_read() {
        for response in [
            &b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"[..],
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nok",
        ] {
            assert_eq!(taken(response, b"", Keep::Everything).await, Ok(200));
        }
    }
}
