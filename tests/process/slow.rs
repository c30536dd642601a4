//! Clients that are slow or send too much on purpose: a limit cuts each of them off.

use std::fs;

use mlsdm::testkit::{DEADLINE, TestDatabase, TestEnv, TestServer, eventually};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

async fn server(database: &TestDatabase) -> TestServer {
    TestEnv::new(database.url())
        .with("MLSDM__LIMITS__HEADER_TIMEOUT_MS", 1_000)
        .with("MLSDM__LIMITS__BODY_TIMEOUT_MS", 1_000)
        .with("MLSDM__LIMITS__WRITE_TIMEOUT_MS", 1_000)
        .with("MLSDM__LIMITS__KEEP_ALIVE_MS", 1_000)
        .serve()
        .await
}

/// Everything that the server sends until it closes the connection.
async fn until_closed(connection: &mut TcpStream) -> String {
    let mut received = Vec::new();
    let read = timeout(DEADLINE, connection.read_to_end(&mut received)).await;
    // a reset closes the connection too
    drop(read.expect("the server closes the connection"));
    String::from_utf8_lossy(&received).into_owned()
}

/// Sends a request on a new connection: the server may time out an idle one of a pool just then.
async fn still_serves(server: &TestServer) {
    let mut connection = server.connect().await;
    let request = b"GET /v1/state HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    connection.write_all(request).await.unwrap();
    let received = until_closed(&mut connection).await;
    assert!(received.starts_with("HTTP/1.1 200 "), "{received}");
}

#[tokio::test(flavor = "multi_thread")]
async fn incomplete_heads_and_bodies_time_out() {
    let database = TestDatabase::sqlite();
    let server = server(&database).await;
    for (sent, status, code) in [
        ("GET /v1/state HTTP/1.1\r\nHost: x\r\nX-Slow: ", "408", ""),
        ("GET /v1/st", "408", ""),
        (
            "POST /v1/generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             Content-Length: 500\r\n\r\n{\"prompt\": \"half",
            "408",
            "E909",
        ),
        (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             Transfer-Encoding: chunked\r\n\r\n4\r\n{\"me\r\n",
            "408",
            "E909",
        ),
    ] {
        let mut connection = server.connect().await;
        connection.write_all(sent.as_bytes()).await.unwrap();
        let received = until_closed(&mut connection).await;
        assert!(received.starts_with(&format!("HTTP/1.1 {status} ")), "{sent}: {received}");
        assert!(received.contains(code), "{sent}: {received}");
    }
    let mut idle = server.connect().await;
    idle.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(until_closed(&mut idle).await.starts_with("HTTP/1.1 200 "));
    still_serves(&server).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_header_fields_are_refused() {
    let database = TestDatabase::sqlite();
    let server = server(&database).await;
    let many = (0..200).map(|n| format!("X-{n}: y\r\n")).collect::<Vec<_>>().concat();
    let long = format!("X-Long: {}\r\n", "y".repeat(300_000));
    let target = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "y".repeat(300_000));
    let with = |fields: &str| format!("GET /v1/state HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    for (name, request) in [("many", with(&many)), ("long", with(&long)), ("target", target)] {
        let mut connection = server.connect().await;
        // the server may close the connection before it has read everything
        drop(connection.write_all(request.as_bytes()).await);
        let received = until_closed(&mut connection).await;
        assert!(received.is_empty() || received.starts_with("HTTP/1.1 4"), "{name}: {received}");
        still_serves(&server).await;
    }
    server.stop().await;
}

/// True if the kernel lists the server's end of this connection as established.
fn is_established(connection: &TcpStream) -> bool {
    let port = |address: std::net::SocketAddr| format!(":{:04X}", address.port());
    let local = port(connection.peer_addr().unwrap());
    let remote = port(connection.local_addr().unwrap());
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.len() > 3
            && fields[1].ends_with(&local)
            && fields[2].ends_with(&remote)
            && fields[3] == "01"
    })
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_cut_off() {
    let database = TestDatabase::sqlite();
    let server = server(&database).await;
    let mut connection = server.connect().await;
    SockRef::from(&connection).set_recv_buffer_size(4096).unwrap();
    // the responses exceed the socket buffers of both ends by far
    let get = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n";
    connection.write_all(get.repeat(40).as_bytes()).await.unwrap();
    assert!(is_established(&connection));
    eventually("the end of the connection", async || {
        if is_established(&connection) { Err("it is established") } else { Ok(()) }
    })
    .await;
    still_serves(&server).await;
    server.stop().await;
}
