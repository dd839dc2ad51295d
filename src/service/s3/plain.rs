//! How a server is reached by plain HTTP and path-style addresses: the ones that a run starts, mostly, with tens of thousands
//! of requests in a drill.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use aws_sdk_s3::config::Builder;
use aws_sdk_s3::config::endpoint::{
    DefaultResolver, Endpoint, EndpointFuture, Params, ResolveEndpoint,
};

/// Sets the client up for it: without TLS, and without waiting for more to send.
pub(super) fn reach(config: &mut Builder) {
    let http =
        aws_smithy_http_client::Builder::new().build_with_connector_fn(|settings, components| {
            let mut connector = aws_smithy_http_client::Connector::builder();
            connector.set_connector_settings(settings.cloned());
            connector.set_sleep_impl(components.and_then(|known| known.sleep_impl()));
            connector.enable_tcp_nodelay(true).build_http()
        });
    config.set_http_client(Some(http));
    config.set_endpoint_resolver(Some(OncePerBucket::default().into_shared_resolver()));
}

/// The SDK's own rules for where requests for a bucket go, asked once for each: on one server nothing else decides, and they
/// would be asked twice for every request.
#[derive(Debug, Default)]
struct OncePerBucket {
    rules: DefaultResolver,
    known: RwLock<HashMap<Option<String>, Endpoint>>,
}

impl OncePerBucket {
    fn known(&self, bucket: Option<&str>) -> Option<Endpoint> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&bucket.map(str::to_owned)).cloned()
    }
}

impl ResolveEndpoint for OncePerBucket {
    fn resolve_endpoint<'a>(&'a self, params: &'a Params) -> EndpointFuture<'a> {
        if let Some(endpoint) = self.known(params.bucket()) {
            return EndpointFuture::ready(Ok(endpoint));
        }
        EndpointFuture::new(async move {
            let endpoint = self.rules.resolve_endpoint(params).await?;
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            known.insert(params.bucket().map(str::to_owned), endpoint.clone());
            Ok(endpoint)
        })
    }
}
