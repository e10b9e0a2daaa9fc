//! The brokers inside this process, by URL.
#![cfg(feature = "memory")]

use sinew_connect::{ConnectOptions, backends, connect};
use sinew_core::{Backend, ErrorKind, Pattern, PublishExt, Result, Subscribe, Subscription};

#[tokio::test]
async fn one_name_is_one_broker_in_this_process() -> Result<()> {
    let (one, other) = (connect("memory:m1").await?, connect("memory:m1").await?);
    let wanted = Subscription::new(Pattern::parse("a")?);
    let mut heard = other.subscriber()?.subscribe(wanted).await?;
    connect("memory:").await?.publisher()?.send_to("a", "elsewhere").await?;
    one.publisher()?.send_to("a", "here").await?;
    let item = heard.next_item().await.transpose()?;
    assert_eq!(item.map(|message| message.payload), Some("here".into()));
    Ok(())
}

#[tokio::test]
async fn what_it_cannot_honour_is_refused() -> Result<()> {
    let hush = |url: &str| ConnectOptions::new(url);
    for options in [
        hush("memory://host/name")?,
        hush("memory:x")?.with_tls(true),
        hush("memory:x")?.with_token_file("/hush"),
        hush("memory:x")?.with_user("ann", "hush"),
        hush("memory:x")?.with_ca_file("/ca.pem"),
    ] {
        let err = options.connect().await.map(|_| ()).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::InvalidOptions, "{err}");
        assert!(!format!("{err:?}").contains("hush"), "{err:?}");
    }
    Ok(())
}

#[test]
fn the_table_has_it() {
    assert!(backends().iter().any(|it| it.backend == "memory"));
}

#[tokio::test]
async fn a_connection_tells_what_the_table_says() -> Result<()> {
    let told = connect("memory:m2").await?.capabilities();
    assert!(backends().contains(&told));
    Ok(())
}
