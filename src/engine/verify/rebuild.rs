//! Rebuilds the command that caused a recorded event.

use crate::{
    domain::{
        command::{
            Abandon, AbandonCause, Add, Admit, ChangePolicy, Command, Complete, CreateKey, Fail,
            Intervene, Judged, RaiseFormat, RevokeKey, RotateKey,
        },
        event::{
            Event, FailStage, Intervention, KeyCreated, KeyRotated, MemoryAdded, MemoryOutcome,
            MoralVerdict, NotStoredReason, PolicyChanged, RequestFacts, StepCompleted, StepFailed,
        },
        ids::SubjectRef,
        state::State,
    },
    store::state_fold::DecodedEvent,
};

/// The cause of an event that is the first of its command.
pub(super) enum Rebuilt {
    /// A command.
    Command(Box<Command>),
    /// An act of the imperative shell that the domain only folds.
    NotDecided,
    /// Events of this type always follow another event of their command.
    NeverFirst,
}

pub(super) fn rebuild(state: &State, opened: &DecodedEvent) -> Rebuilt {
    let command = match &opened.event {
        Event::StepAdmitted(e) => {
            let timeout = e.deadline.saturating_sub(opened.envelope.recorded_at);
            Command::Admit(Box::new(Admit {
                replica: e.replica,
                timeout,
                ..admit(opened, &e.request, &e.moral)
            }))
        }
        Event::StepRejected(e) => Command::Admit(Box::new(Admit {
            replica: e.replica,
            elapsed_ms: e.answer.latency_ms,
            ..admit(opened, &e.request, &e.moral)
        })),
        Event::StepCompleted(e) => complete(state, opened, e),
        Event::StepFailed(e) => fail(opened, e),
        Event::MemoryAdded(e) => add(state, opened, e),
        Event::EngineShutdown(act) => Command::Shutdown(intervene(act)),
        Event::EngineResumed(act) => Command::Resume(intervene(act)),
        Event::PolicyChanged(e) => change_policy(e),
        Event::StateAttested(_) => Command::Attest,
        Event::KeyCreated(e) => create_key(e),
        Event::KeyRevoked(e) => Command::RevokeKey(RevokeKey { id: e.id, actor: e.actor.clone() }),
        Event::KeyRotated(e) => rotate_key(opened, e),
        Event::LogFormatRaised(e) => {
            Command::RaiseFormat(RaiseFormat { to: e.to, actor: e.actor.clone() })
        }
        Event::Fact(fact) => Command::Record(fact.clone()),
        Event::SubjectErased(_) => return Rebuilt::NotDecided,
        Event::EngineCreated(_) | Event::MemoryConsolidated(_) | Event::MemoryEvicted(_) => {
            return Rebuilt::NeverFirst;
        }
    };
    Rebuilt::Command(Box::new(command))
}

/// The request, without its process, timeout and duration.
fn admit(opened: &DecodedEvent, request: &RequestFacts, moral: &MoralVerdict) -> Admit {
    Admit {
        // an event of a step without a subject does not fold
        subject: opened.envelope.subject.unwrap_or(SubjectRef::new(0)),
        caller_score: moral.caller,
        scored: moral.scorer_results().cloned().collect(),
        unavailable: moral.unavailable.clone(),
        asserted: moral.asserted,
        judged: judged(moral),
        route: request.route.clone(),
        model: request.model.clone(),
        max_tokens: request.max_tokens_asked,
        shortenable: request.shortenable,
        token_rule: request.token_rule,
        memory: request.memory,
        top_k: Some(request.top_k),
        prompt_chars: request.prompt_chars,
        prompt_hmac: request.prompt_hmac.clone(),
        prompt_tokens: request.prompt_tokens,
        price: request.price,
        key_limit: request.key_limit,
        sampling: request.sampling,
        auth: request.auth,
        replica: None,
        timeout: 0,
        // only the sum of timeout and grace is recorded
        grace: 0,
        elapsed_ms: 0.0,
    }
}

fn judged(moral: &MoralVerdict) -> Option<Judged> {
    Some(Judged {
        scope: moral.scope?,
        chars: moral.judged_chars?,
        hmac: moral.judged_hmac.clone()?,
    })
}

fn complete(state: &State, opened: &DecodedEvent, e: &StepCompleted) -> Command {
    Command::Complete(Box::new(Complete {
        step: opened.envelope.step.unwrap_or_default(),
        provider: e.provider.clone(),
        model: e.model.clone(),
        usage: e.usage,
        finish_reason: e.finish_reason.clone(),
        latency: e.latency,
        attempts: e.attempts,
        calls: e.calls.clone(),
        price: e.cost.map(|cost| cost.price),
        context: e.context.clone(),
        confidence: e.confidence,
        looping: e.quality.iter().any(|flag| flag == "looping"),
        cut: e.cut,
        forgo: forgo(state, e),
        vector: opened.vector.clone(),
    }))
}

/// The reason of the process for which an answer was not remembered. A log of format 1 has only the
/// confidence as a reason.
fn forgo(state: &State, e: &StepCompleted) -> Option<NotStoredReason> {
    let MemoryOutcome::NotStored { why } = &e.memory else { return None };
    match why {
        NotStoredReason::ToolCall
        | NotStoredReason::MediaOnly
        | NotStoredReason::MemoryOff
        | NotStoredReason::Cut => Some(*why),
        NotStoredReason::Confidence => {
            let suffices = e.confidence >= state.policy.lattice.min_store_confidence;
            (suffices && !state.has_format_2()).then_some(NotStoredReason::MemoryOff)
        }
        NotStoredReason::Looping | NotStoredReason::Erased => None,
    }
}

fn fail(opened: &DecodedEvent, e: &StepFailed) -> Command {
    let step = opened.envelope.step.unwrap_or_default();
    if e.stage == FailStage::Abandoned {
        let cause = match (e.code.as_str(), e.last_seen) {
            ("sole_owner", _) => AbandonCause::SoleOwner,
            ("replica_gone", Some(last_seen)) => AbandonCause::ReplicaGone { last_seen },
            _ => AbandonCause::Deadline,
        };
        return Command::Abandon(Abandon { step, cause });
    }
    Command::Fail(Box::new(Fail {
        step,
        stage: e.stage,
        code: e.code.clone(),
        latency_ms: e.latency_ms,
        attempts: e.attempts,
        usage: e.usage,
        price: e.cost.map(|cost| cost.price),
        context: e.context.clone(),
        provider: e.provider.clone(),
        model: e.model.clone(),
        latency: e.latency,
        calls: e.calls.clone(),
    }))
}

fn add(state: &State, opened: &DecodedEvent, e: &MemoryAdded) -> Command {
    Command::Add(Box::new(Add {
        // an added item without a subject does not fold
        subject: opened.envelope.subject.unwrap_or(SubjectRef::new(0)),
        source: e.source.clone(),
        // the item would not have been added with another value
        after: state.copied.as_ref().map_or(0, |copied| copied.position),
        actor: e.actor.clone(),
        phase: e.phase,
        confidence: e.confidence,
        consolidated: e.consolidated,
        vector: opened.vector.clone(),
    }))
}

fn intervene(act: &Intervention) -> Intervene {
    Intervene { actor: act.actor.clone(), reason: act.reason.clone() }
}

fn change_policy(e: &PolicyChanged) -> Command {
    Command::ChangePolicy(Box::new(ChangePolicy {
        policy: e.policy.clone(),
        actor: e.actor.clone(),
        reason: e.reason.clone(),
        config: e.config.clone(),
        evidence: e.evidence,
    }))
}

fn create_key(e: &KeyCreated) -> Command {
    Command::CreateKey(Box::new(CreateKey {
        id: e.id,
        hash: e.hash,
        grant: e.grant.clone(),
        actor: e.actor.clone(),
    }))
}

fn rotate_key(opened: &DecodedEvent, e: &KeyRotated) -> Command {
    let grace = e.previous_until.map(|until| until.saturating_sub(opened.envelope.recorded_at));
    let seconds = grace.map_or(0, |micros| micros.div_euclid(1_000_000));
    Command::RotateKey(RotateKey {
        id: e.id,
        hash: e.hash,
        grace_seconds: u32::try_from(seconds).unwrap_or(u32::MAX),
        actor: e.actor.clone(),
    })
}
