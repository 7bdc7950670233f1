//! An inner service that is not `Clone` is underlined where it is wrapped.

use neonomics_auth::{NeonomicsAuth, NeonomicsAuthLayer, TokenProvider};
use tower::{Layer, ServiceBuilder};

struct Single;

fn by_the_builder(layer: NeonomicsAuthLayer) {
    let _ = ServiceBuilder::new().layer(layer).service(Single);
}

fn by_the_layer(layer: NeonomicsAuthLayer) {
    let _ = layer.layer(Single);
}

fn by_itself(provider: TokenProvider) {
    let _ = NeonomicsAuth::new(Single, provider);
}

fn main() {}
