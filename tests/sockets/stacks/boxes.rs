//! Stacks whose type is erased or decided at run time.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use neonomics_auth::BoxError;
use tower::util::{BoxCloneService, BoxCloneSyncService};
use tower::{Layer, ServiceBuilder};

use super::{Scene, Seen, ask, assert_heals};

type Asked = Request<Full<Bytes>>;
type Answered = Response<Incoming>;

#[tokio::test]
async fn b6_a_box_around_the_stack_and_one_below_the_layer_heal_refusals() {
    for scene in Scene::each().await {
        let inner: BoxCloneSyncService<Asked, Answered, legacy::Error> = BoxCloneSyncService::new(scene.client.clone());
        let outer: BoxCloneSyncService<Asked, Answered, BoxError> = BoxCloneSyncService::new(scene.auth().layer(inner));
        assert_heals(&scene, "boxes that are `Sync`", outer).await;
    }
    for scene in Scene::each().await {
        let inner: BoxCloneService<Asked, Answered, legacy::Error> = BoxCloneService::new(scene.client.clone());
        let outer: BoxCloneService<Asked, Answered, BoxError> = BoxCloneService::new(scene.auth().layer(inner));
        assert_heals(&scene, "boxes that are not", outer).await;
    }
}

/// Both ways through the stack must have one error: `map_err` below makes them equal, and wraps nothing.
#[tokio::test]
async fn b6_the_layer_can_be_switched_on_and_off() {
    for scene in Scene::each().await {
        let on = ServiceBuilder::new()
            .option_layer(Some(scene.auth()))
            .map_err(BoxError::from)
            .service(scene.client.clone());
        assert_heals(&scene, "on", on).await;
    }
    for scene in Scene::each().await {
        let off = ServiceBuilder::new()
            .option_layer(None::<neonomics_auth::NeonomicsAuthLayer>)
            .map_err(BoxError::from)
            .service(scene.client.clone());
        assert!(ask(off, scene.request()).await.unwrap().outcome.is_none(), "{:?}", scene.version);
        scene.assert_seen("off", Seen { attempts: 1, refused: 1, ..Seen::default() });
    }
}
