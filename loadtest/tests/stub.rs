//! A server that responds after delays chosen by the test.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tollgate_load::timing::Alarm;

/// It runs until the process ends.
pub struct Stub {
    pub address: SocketAddr,
    /// How long each response took, from the end of the request to the start of the response.
    taken: Arc<Mutex<Vec<Duration>>>,
    stalled: Arc<AtomicBool>,
}

impl Stub {
    /// Responds with a status, after each of the delays in turn, repeatedly.
    pub fn start(status: u16, delays: Vec<Duration>) -> Self {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let stalled = Arc::new(AtomicBool::new(false));
        let (sender, address) = std::sync::mpsc::channel();
        let server =
            Server { status, delays, next: Mutex::new(0), taken: Arc::clone(&taken), stalled: Arc::clone(&stalled) };
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                sender.send(listener.local_addr().unwrap()).unwrap();
                let server = Arc::new(server);
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    tokio::spawn(Arc::clone(&server).serve(stream));
                }
            });
        });
        Self { address: address.recv().unwrap(), taken, stalled }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// While stalled, it sends no responses.
    pub fn stall(&self, stalled: bool) {
        self.stalled.store(stalled, Ordering::SeqCst);
    }

    /// A quantile of the response times so far, in microseconds; the first `skipped` are left out.
    pub fn truth(&self, quantile: f64, skipped: usize) -> f64 {
        let mut taken: Vec<Duration> = self.taken.lock().unwrap().iter().skip(skipped).copied().collect();
        taken.sort_unstable();
        let place = ((taken.len() as f64 * quantile).ceil() as usize).clamp(1, taken.len());
        taken[place - 1].as_secs_f64() * 1e6
    }
}

struct Server {
    status: u16,
    delays: Vec<Duration>,
    next: Mutex<usize>,
    taken: Arc<Mutex<Vec<Duration>>>,
    stalled: Arc<AtomicBool>,
}

impl Server {
    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        let alarm = Alarm::new().unwrap();
        let response = format!("HTTP/1.1 {} Stub\r\ncontent-length: 2\r\n\r\nok", self.status);
        let mut head = Vec::new();
        loop {
            let mut part = [0; 4096];
            match stream.read(&mut part).await {
                Ok(length) if length > 0 => head.extend_from_slice(&part[..length]),
                _ => return,
            }
            if !head.ends_with(b"\r\n\r\n") {
                continue;
            }
            head.clear();
            let came = Instant::now();
            let delay = {
                let mut next = self.next.lock().unwrap();
                *next += 1;
                self.delays[(*next - 1) % self.delays.len()]
            };
            alarm.until(came + delay).await.unwrap();
            while self.stalled.load(Ordering::SeqCst) {
                alarm.until(Instant::now() + Duration::from_millis(1)).await.unwrap();
            }
            self.taken.lock().unwrap().push(came.elapsed());
            if stream.write_all(response.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}
