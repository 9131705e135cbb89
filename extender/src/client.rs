//! A client of the API server for which nothing lasts for ever: a connection whose other end is gone without a word
//! would otherwise hold up whoever asked.

use std::time::Duration;

use kube::{Client, Config, client::ClientBuilder};
use tower::timeout::TimeoutLayer;

/// The longest time until an answer begins. That of a watch begins at once, too. The API server itself gives up after
/// 60 s, and webhooks and schedulers that ask us long before.
const UNTIL_ANSWER: Duration = Duration::from_secs(30);
/// The longest silence within an answer: a watch may say nothing until it ends, which is after 290 s.
const WITHIN_ANSWER: Duration = Duration::from_secs(300);

/// The client.
pub(crate) fn patient(mut config: Config) -> Result<Client, kube::Error> {
    config.read_timeout = Some(WITHIN_ANSWER);
    // The time that a connection was idle between two requests doesn't count.
    config.reset_reader_on_write = true;
    Ok(ClientBuilder::try_from(config)?
        .with_layer(&TimeoutLayer::new(UNTIL_ANSWER))
        .build())
}

#[cfg(test)]
mod tests {
    use tokio::{net::TcpListener, time::timeout};

    use super::*;

    /// Time jumps ahead whenever all wait, so that this takes no time.
    #[tokio::test(start_paused = true)]
    async fn a_server_that_says_nothing_is_given_up() -> anyhow::Result<()> {
        let silent = TcpListener::bind("127.0.0.1:0").await?;
        let config = Config::new(format!("http://{}", silent.local_addr()?).parse()?);
        let client = patient(config)?;
        let answer = timeout(2 * UNTIL_ANSWER, client.apiserver_version()).await;
        let error = answer?.err();
        assert!(
            matches!(&error, Some(kube::Error::Service(why)) if why.is::<tower::timeout::error::Elapsed>()),
            "{error:?}"
        );
        Ok(())
    }
}
