//! The socket in a cluster's directory by which other commands, such as `privatekube-cluster stop extender`, send
//! requests to the process that owns the cluster: a line of JSON each, answered by another. Only the directory's user
//! can reach it.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use tokio::sync::{mpsc, oneshot};

use crate::layout::Layout;
use crate::protocol::{Message, Request};

/// The most bytes of a request.
const MOST_REQUEST: u64 = 64 << 10;
/// The time for a request to arrive.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// A request, and where its answer goes.
pub(crate) struct Asked {
    pub(crate) request: String,
    pub(crate) answer: oneshot::Sender<Message>,
}

/// Takes requests for as long as this process lives, on threads of their own.
pub(crate) fn listen(layout: &Layout, requests: mpsc::UnboundedSender<Asked>) -> Result<()> {
    let path = layout.control_socket();
    // Left behind by an owner that was killed; nobody owns the directory but this process. An error means that there is
    // none.
    let _ = fs::remove_file(&path);
    let (_dir, short) = short_path(layout)?;
    let listener =
        UnixListener::bind(short).with_context(|| format!("can't listen at {}", path.display()))?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let requests = requests.clone();
            // The client sees that its connection ends.
            thread::spawn(move || drop(answer(&stream, &requests)));
        }
    });
    Ok(())
}

fn answer(stream: &UnixStream, requests: &mpsc::UnboundedSender<Asked>) -> Result<()> {
    stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
    let mut request = String::new();
    BufReader::new(stream.take(MOST_REQUEST)).read_line(&mut request)?;
    let (answer, answered) = oneshot::channel();
    if requests.send(Asked { request, answer }).is_err() {
        bail!("the cluster is ending");
    }
    let message = answered.blocking_recv().context("the cluster is ending")?;
    let mut stream = stream;
    Ok(writeln!(stream, "{}", serde_json::to_string(&message)?)?)
}

/// Sends a request to the owner of a cluster, and waits until it is done.
pub(crate) fn ask(layout: &Layout, request: &Request) -> Result<()> {
    let (_dir, short) = short_path(layout)?;
    let mut stream = UnixStream::connect(short).with_context(|| {
        format!(
            "no cluster that takes requests is up in {}: start one with `up`",
            layout.dir().display()
        )
    })?;
    writeln!(stream, "{}", serde_json::to_string(request)?)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    match serde_json::from_str(&line) {
        Ok(Message::Done) => Ok(()),
        Ok(Message::Refused(reason) | Message::Failed(reason)) => Err(anyhow!(reason)),
        Ok(Message::Ready(_)) | Err(_) => bail!(
            "the cluster ended meanwhile; its log is {}",
            layout.serve_log().display()
        ),
    }
}

/// A path of the socket that is short enough for a socket's address, whatever the directory's path, for as long as the
/// returned file is open.
fn short_path(layout: &Layout) -> Result<(File, PathBuf)> {
    let path = layout.control_socket();
    let dir = File::open(layout.dir()).with_context(|| format!("can't open {}", layout.dir().display()))?;
    let name = path.file_name().context("the socket has no name")?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name);
    Ok((dir, short))
}
