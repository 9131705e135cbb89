//! Forwards TCP connections, so that the node reaches the API server, which listens at the machine's 127.0.0.1 alone.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

/// Listens at `from`.
pub(super) async fn listen(from: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(from)
        .await
        .with_context(|| format!("can't listen at {from}"))
}

/// Forwards every connection of `listener` to `to`; never returns.
pub(super) async fn forward(listener: TcpListener, to: SocketAddr) {
    loop {
        let Ok((mut inbound, _)) = listener.accept().await else {
            // Too many open files, for example: those that end make room.
            tokio::task::yield_now().await;
            continue;
        };
        tokio::spawn(async move {
            let Ok(mut outbound) = TcpStream::connect(to).await else {
                return;
            };
            // Small messages go at once, as they came.
            let _ = (inbound.set_nodelay(true), outbound.set_nodelay(true));
            // Either end may close at any time.
            let _ = copy_bidirectional(&mut inbound, &mut outbound).await;
        });
    }
}
