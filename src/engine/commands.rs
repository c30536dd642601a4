//! The commands on an engine other than steps: by administrators, and by the server itself.

use super::{Engine, EngineError, Receipt, append::commit};
use crate::{
    domain::{
        command::{ChangePolicy, Command, CreateKey, Intervene, RaiseFormat, RevokeKey, RotateKey},
        event::Fact,
        policy::Policy,
    },
    store::writer::{Actor, Proposal},
};

impl Engine {
    /// Admits no further step. Running steps end normally.
    pub async fn shutdown(&self, act: Intervene) -> Result<Receipt, EngineError> {
        let actor = act.actor.clone();
        administer(self, Command::Shutdown(act), actor).await
    }

    /// Admits steps again.
    pub async fn resume(&self, act: Intervene) -> Result<Receipt, EngineError> {
        let actor = act.actor.clone();
        administer(self, Command::Resume(act), actor).await
    }

    /// Replaces the policy.
    pub async fn change_policy(&self, change: ChangePolicy) -> Result<Receipt, EngineError> {
        let actor = change.actor.clone();
        administer(self, Command::ChangePolicy(Box::new(change)), actor).await
    }

    /// Applies the policy of a configuration: only the fields that differ from the configuration
    /// applied before, so that an operator's changes to other fields remain, and only those that the
    /// format of the log has.
    pub async fn apply_config(
        &self,
        policy: &Policy,
        actor: &str,
        reason: &str,
    ) -> Result<Receipt, EngineError> {
        let state = &self.view().state;
        let policy = &policy.for_format(state.log_format);
        let changed = match &state.config {
            Some(before) => state.policy.with_changes(before, policy),
            None => policy.clone(),
        };
        self.change_policy(ChangePolicy {
            policy: changed,
            actor: actor.to_owned(),
            reason: reason.to_owned(),
            config: Some(policy.clone()),
            evidence: None,
        })
        .await
    }

    /// Creates an API key. API keys are recorded in the server's own log only.
    pub async fn create_key(&self, create: CreateKey) -> Result<Receipt, EngineError> {
        let actor = create.actor.clone();
        administer(self, Command::CreateKey(Box::new(create)), actor).await
    }

    /// Revokes an API key.
    pub async fn revoke_key(&self, revoke: RevokeKey) -> Result<Receipt, EngineError> {
        let actor = revoke.actor.clone();
        administer(self, Command::RevokeKey(revoke), actor).await
    }

    /// Replaces the secret of an API key.
    pub async fn rotate_key(&self, rotate: RotateKey) -> Result<Receipt, EngineError> {
        let actor = rotate.actor.clone();
        administer(self, Command::RotateKey(rotate), actor).await
    }

    /// Records a fact of the server. A log of an older format has no place for it.
    pub(super) async fn record_fact(&self, fact: Fact) -> Result<(), EngineError> {
        if self.view().state.log_format < fact.format() {
            return Ok(());
        }
        let command = Command::Record(Box::new(fact));
        let command_id = crate::ids::command_id();
        commit(self, Proposal::of_engine(command_id, command, Actor::Server)).await?;
        Ok(())
    }

    /// Records a fact that an administrator causes.
    pub async fn record(&self, fact: Fact, actor: String) -> Result<Receipt, EngineError> {
        administer(self, Command::Record(Box::new(fact)), actor).await
    }

    /// Raises the format of the log, in its row and by an event.
    pub(super) async fn raise_format(&self, to: u32, actor: &str) -> Result<Receipt, EngineError> {
        // the event is the first with a MAC
        self.parts.store.mac_key(&self.parts.content_key).await?;
        let raise = RaiseFormat { to, actor: actor.to_owned() };
        administer(self, Command::RaiseFormat(raise), actor.to_owned()).await
    }
}

async fn administer(
    engine: &Engine,
    command: Command,
    administrator: String,
) -> Result<Receipt, EngineError> {
    let actor = Actor::Clear(administrator);
    let proposal = Proposal::of_engine(crate::ids::command_id(), command, actor);
    let committed = commit(engine, proposal).await?;
    let view = engine.view();
    Ok(match committed.events.first() {
        Some((envelope, _)) => {
            Receipt { position: envelope.position, chain_hash: committed.chain_hash }
        }
        None => Receipt { position: view.state.position, chain_hash: view.chain_hash },
    })
}
