//! `mlsdm key`

use clap::Subcommand;
use serde_json::{Value, json};

use super::{Context, duration::seconds, output};
use crate::{
    clock,
    domain::ids::{EngineId, KeyId},
    rates::Rate,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a key and print its secret, which cannot be shown again.
    Create(Create),
    /// List keys, without their secrets.
    List,
    /// Revoke a key permanently. Takes effect immediately.
    Revoke {
        /// The id of the key.
        id: KeyId,
    },
    /// Replace the secret of a key and print the new one, which cannot be shown again.
    Rotate {
        /// The id of the key.
        id: KeyId,
        /// Time for which the previous secret stays valid, such as 90s, 15m, 1h or 7d; at most 7 days.
        #[arg(long, value_name = "TIME", default_value = "0s", value_parser = seconds)]
        grace: u32,
    },
}

#[derive(Debug, clap::Args)]
struct Create {
    /// The display name.
    name: String,
    /// A role. Can be given several times.
    #[arg(long, value_name = "ROLE", required = true)]
    role: Vec<String>,
    /// An engine that the key can access. Can be given several times. Default: the default engine of the
    /// server.
    #[arg(long, value_name = "ENGINE", conflicts_with = "all_engines")]
    engine: Vec<EngineId>,
    /// The key can access all engines.
    #[arg(long)]
    all_engines: bool,
    /// Lifetime, such as 12h or 90d. Default: until the key is revoked.
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    ttl: Option<u32>,
    /// Rate limit in requests and seconds, such as 100/60.
    #[arg(long, value_name = "REQUESTS/SECONDS", value_parser = rate)]
    rate: Option<(u32, u32)>,
    /// Token budget of the key in each window of each engine.
    #[arg(long, value_name = "TOKENS")]
    tokens: Option<u64>,
    /// Cost budget of the key in millionths of a US dollar, in each window of each engine.
    #[arg(long, value_name = "MICRO_USD")]
    cost: Option<u64>,
}

pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let client = context.client().await?;
    match args.command {
        Command::Create(create) => {
            let created = client.post("/v1/keys", &create.body()).await?;
            context.print(&created, output::fields)
        }
        Command::List => {
            let keys = client.get("/v1/keys", &[]).await?;
            context.print(&keys, render)
        }
        Command::Revoke { id } => {
            let revoked = client.delete(&format!("/v1/keys/{id}")).await?;
            context.print(&revoked, output::fields)
        }
        Command::Rotate { id, grace } => {
            let body = json!({ "grace_seconds": grace });
            let rotated = client.post(&format!("/v1/keys/{id}/rotate"), &body).await?;
            context.print(&rotated, output::fields)
        }
    }
}

impl Create {
    fn body(&self) -> Value {
        let mut body = json!({ "name": self.name, "roles": self.role });
        if self.all_engines {
            body["engines"] = json!(["*"]);
        } else if !self.engine.is_empty() {
            body["engines"] = json!(self.engine);
        }
        if let Some(ttl) = self.ttl {
            let end = clock::now_micros().saturating_add(i64::from(ttl).saturating_mul(1_000_000));
            body["expires_at"] = json!(clock::rfc3339(end));
        }
        if let Some((requests, window_seconds)) = self.rate {
            body["rate"] = json!({ "requests": requests, "window_seconds": window_seconds });
        }
        if self.tokens.is_some() || self.cost.is_some() {
            body["budget"] = json!({
                "tokens": self.tokens.unwrap_or_default(),
                "cost_micro_usd": self.cost.unwrap_or_default(),
            });
        }
        body
    }
}

fn rate(text: &str) -> Result<(u32, u32), &'static str> {
    let must = "REQUESTS/SECONDS, such as 100/60, up to 1000000/86400";
    let (requests, seconds) = text.split_once('/').ok_or(must)?;
    let requests = requests.parse().map_err(|_| must)?;
    let seconds: u32 = seconds.parse().map_err(|_| must)?;
    Rate::new(requests, seconds.into(), None).map(|_| (requests, seconds)).ok_or(must)
}

fn render(response: &Value) -> String {
    let row = |key: &Value| {
        let list = |name: &str| {
            let items = key[name].as_array().into_iter().flatten();
            items.map(|item| output::cell(Some(item))).collect::<Vec<_>>().join(",")
        };
        let state = if key["expired"] == true { "expired" } else { "valid" };
        let [id, name, expires_at] =
            ["id", "name", "expires_at"].map(|field| output::cell(key.get(field)));
        vec![id, name, list("roles"), list("engines"), state.to_owned(), expires_at]
    };
    let rows: Vec<_> = response["keys"].as_array().into_iter().flatten().map(row).collect();
    output::table(&["ID", "NAME", "ROLES", "ENGINES", "STATE", "EXPIRES AT"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_two_numbers() {
        assert_eq!(rate("100/60"), Ok((100, 60)));
        for bad in ["", "100", "0/60", "1/0", "1/86401", "1000001/1", "1/60/5"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
