//! A refusal that comes while the client is still sending.

use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::api::{Api, Manner};
use crate::echo::{EchoClient, Kind};
use crate::{attempt, clients, refused_replayed_forced, unless_it_hangs};

// lessons 23, 24
#[tokio::test]
async fn c10_a_client_that_is_still_sending_goes_on_in_the_second_attempt() {
    for kind in Kind::STREAMING {
        assert_goes_on(kind, Manner::AtOnce, &[], &[]).await;
        assert_goes_on(kind, Manner::AtOnce, &["a", "b"], &[]).await;
        assert_goes_on(kind, Manner::Http401, &["a", "b"], &[]).await;
        // A server that does not reset the stream leaves the body to the first attempt until that is called back.
        assert_goes_on(kind, Manner::AndReads, &[], &[]).await;
        assert_goes_on(kind, Manner::AndReads, &["a", "b"], &[]).await;
        for read in 0..=2 {
            assert_goes_on(kind, Manner::After(read), &["a", "b"], &["a", "b"][..read]).await;
        }
    }
}

/// Some texts are sent before the refusal, of which the first attempt had some read; the other ones follow when the second
/// attempt has those.
async fn assert_goes_on(kind: Kind, manner: Manner, before: &[&str], read: &[&str]) {
    let api = Api::start().await;
    let provider = api.provider();
    let mut client = clients::echo(&api, &provider);
    api.refuse(manner);
    api.fake.refuse_requests(1);

    let (texts, stream) = mpsc::unbounded_channel();
    for text in before {
        texts.send((*text).to_owned()).unwrap();
    }
    let asking = tokio::spawn(async move { client.call(kind, UnboundedReceiverStream::new(stream)).await });
    api.has_read(1, before.len()).await;
    assert_eq!(api.attempts(), [attempt(1, read), attempt(2, before)], "{kind:?} {manner:?}");
    for text in &kind.question()[before.len()..] {
        texts.send((*text).to_owned()).unwrap();
    }
    drop(texts);

    let answer = unless_it_hangs(asking).await.unwrap().unwrap();
    assert_eq!(answer, kind.answer(), "{kind:?} {manner:?}");
    assert_eq!(api.attempts(), [attempt(1, read), attempt(2, kind.question())], "{kind:?} {manner:?}");
    api.fake.expect().client_credentials(1).refresh(1).requests(2).unauthorized(1);
    assert_eq!(refused_replayed_forced(&provider), (1, 1, (1, 0)));
    assert_eq!(api.connections(), 1);
}

/// Only the stream of the first attempt is given up: other calls on the connection go on.
#[tokio::test]
async fn c10_calling_a_body_back_disturbs_no_other_call_on_the_connection() {
    let api = Api::start().await;
    let provider = api.provider();
    let client = clients::limited(&api, &provider, 100);
    let start = |kind| {
        let (texts, stream) = mpsc::unbounded_channel();
        let mut client = EchoClient::new(client.clone());
        let asking = tokio::spawn(async move { client.call(kind, UnboundedReceiverStream::new(stream)).await });
        (texts, asking)
    };

    let (undisturbed, first) = start(Kind::Bidirectional);
    undisturbed.send("a".to_owned()).unwrap();
    api.has_read(0, 1).await;
    api.fake.refuse_requests(1);
    let (refused, second) = start(Kind::ClientStreaming);
    api.has_read(2, 0).await;
    for texts in [&undisturbed, &refused] {
        texts.send("b".to_owned()).unwrap();
    }
    drop((undisturbed, refused));

    assert_eq!(unless_it_hangs(first).await.unwrap().unwrap(), ["a", "b"]);
    assert_eq!(unless_it_hangs(second).await.unwrap().unwrap(), ["b"]);
    assert_eq!(api.attempts(), [attempt(1, &["a", "b"]), attempt(1, &[]), attempt(2, &["b"])]);
    assert_eq!(api.connections(), 1);
}
