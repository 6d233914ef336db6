//! What a service manager such as systemd sees of the process, and what it may pass to it. No manager runs here: its
//! socket and its listening sockets are the test's.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixDatagram};
use tollgate_tests::{Gateway, Node, Reply, Store};

/// How long a message may take.
const SOON: Duration = Duration::from_secs(20);

/// The manager's end of `NOTIFY_SOCKET`.
struct Manager(UnixDatagram);

impl Manager {
    fn at(path: &Path) -> Self {
        Self(UnixDatagram::bind(path).unwrap())
    }

    /// The next message that is no sign of life.
    async fn told(&self) -> Vec<String> {
        loop {
            let message = self.next().await;
            if message != ["WATCHDOG=1"] {
                return message;
            }
        }
    }

    async fn next(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let length = tokio::time::timeout(SOON, self.0.recv(&mut buffer)).await.expect("a message").unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap().lines().map(str::to_owned).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manager_is_told_when_the_process_is_ready_lives_and_stops() {
    let node = Node::on_sqlite();
    let path = node.directory().join("notify.sock");
    let manager = Manager::at(&path);
    let environment = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "400000")];
    let process = node.start_with(&environment).await;
    assert_eq!(manager.told().await, ["READY=1", "STATUS=serving requests"]);
    for _ in 0..3 {
        assert_eq!(manager.next().await, ["WATCHDOG=1"]);
    }
    process.ask_to_end().unwrap();
    assert_eq!(manager.told().await, ["STOPPING=1", "STATUS=draining"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_is_told_with_its_time_before_and_after() {
    use rustix::process::{Pid, Signal, kill_process};
    let node = Node::on_sqlite();
    let path = node.directory().join("notify.sock");
    let manager = Manager::at(&path);
    let process = node.start_with(&[("NOTIFY_SOCKET", path.to_str().unwrap())]).await;
    assert_eq!(manager.told().await[0], "READY=1");
    for _ in 0..2 {
        kill_process(Pid::from_raw(process.id().cast_signed()).unwrap(), Signal::HUP).unwrap();
        let reloading = manager.told().await;
        assert_eq!(reloading[0], "RELOADING=1");
        let time = reloading[1].strip_prefix("MONOTONIC_USEC=").unwrap();
        assert!(time.parse::<u64>().unwrap() > 0, "{time}");
        assert_eq!(manager.told().await, ["READY=1", "STATUS=serving requests"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manager_is_told_which_process_is_the_service_after_an_upgrade() {
    let manager_folder = tempfile::tempdir().unwrap();
    let path = manager_folder.path().join("notify.sock");
    let manager = Manager::at(&path);
    let environment = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "10000000")];
    let mut gateway = Gateway::on(Store::Sqlite, &environment).await;
    assert_eq!(manager.told().await[0], "READY=1");
    tokio::task::block_in_place(|| gateway.upgrade());
    let main = format!("MAINPID={}", gateway.serving_process_id());
    // The new process speaks once it is the service, since nobody would listen before.
    assert_eq!(manager.told().await[0], main);
    assert_eq!(manager.told().await[0], "READY=1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watchdog_of_another_process_is_left_alone() {
    let node = Node::on_sqlite();
    let path = node.directory().join("notify.sock");
    let manager = Manager::at(&path);
    let socket = ("NOTIFY_SOCKET", path.to_str().unwrap());
    let mut process = node.start_with(&[socket, ("WATCHDOG_USEC", "100000"), ("WATCHDOG_PID", "1")]).await;
    process.stop().unwrap();
    assert_eq!(manager.next().await[0], "READY=1");
    assert_eq!(manager.next().await[0], "STOPPING=1");
}

/// The first line of the response to a request that is sent on a connection.
async fn status_line(connection: &mut TcpStream) -> String {
    connection.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut response = String::new();
    tokio::time::timeout(SOON, connection.read_to_string(&mut response)).await.expect("a response").unwrap();
    response.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_sockets_of_the_manager_no_connection_is_refused_while_the_process_is_replaced() {
    let node = Node::on_sqlite();
    // By its name, though it is not where the settings say; by its address, since its name says nothing; by its name.
    let [http, admin] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [_, (_, https), _, (_, status)] = node.listeners;
    let https = TcpListener::bind(https).unwrap();
    for _ in 0..2 {
        // Nobody accepts it yet.
        let mut waiting = TcpStream::connect(http.local_addr().unwrap()).await.unwrap();
        let mut process = node.start_with_sockets([&http, &https, &admin], "http:tollgate.socket:admin").await;
        assert_eq!(status_line(&mut waiting).await, "HTTP/1.1 404 Not Found");
        let mut tls = TcpStream::connect(https.local_addr().unwrap()).await.unwrap();
        assert!(status_line(&mut tls).await.starts_with("HTTP/1.1 400"), "plain HTTP on the TLS listener");
        for (address, path) in [(admin.local_addr().unwrap(), "/services"), (status, "/status/ready")] {
            let url = format!("http://{address}{path}");
            Reply::read(reqwest::get(url).await.unwrap()).await.expect(200);
        }
        let [(_, unused), ..] = node.listeners;
        assert!(TcpStream::connect(unused).await.is_err(), "the socket takes the place of the setting");
        assert_eq!(process.stop().unwrap().code(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_belongs_to_no_listener_ends_the_start() {
    let node = Node::on_sqlite();
    let [first, second, third] = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let output = node.run_with_sockets([&first, &second, &third], "http:nonsense:admin").await;
    let address = second.local_addr().unwrap();
    let start = format!("tollgate: socket activation: the socket \"nonsense\" on {address} belongs to no listener: ");
    assert_eq!(output.code, Some(1), "{}", output.output);
    assert!(output.output.starts_with(&start), "{}", output.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_would_open_the_admin_api_to_everybody_ends_the_start() {
    let node = Node::on_sqlite();
    let open = TcpListener::bind("0.0.0.0:0").unwrap();
    let [http, https] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let ended = node.run_with_sockets([&http, &https, &open], "http:https:admin").await;
    assert_eq!(ended.code, Some(1), "{}", ended.output);
    assert!(ended.output.starts_with("tollgate: admin.listen: its socket is on 0.0.0.0:"), "{}", ended.output);
}
