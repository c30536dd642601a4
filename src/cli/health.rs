//! `mlsdm health`: also the health check of containers, whose image has no curl.

use reqwest::Method;

use super::{Context, context::Finding, output};

/// Calls `/health`. A status other than 2xx, or a degraded server, is a finding.
pub(super) async fn run(context: &Context) -> anyhow::Result<()> {
    let (status, body) = context.client().await?.send(Method::GET, "/health", &[], None).await?;
    context.print(&body, output::fields)?;
    let finding = match (status.is_success(), body["status"] == "degraded") {
        (true, false) => return Ok(()),
        (true, true) => "the server is degraded; `checks` has the cause".to_owned(),
        (false, _) => format!("the server is unhealthy: status {}", status.as_u16()),
    };
    Err(Finding(finding).into())
}
