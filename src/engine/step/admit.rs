//! Admission: scores and seals a request, and has the writer decide on it. Returns once
//! `step.admitted` or `step.rejected` is durable.

use std::{sync::Arc, time::Duration};

use sha2::{Digest as _, Sha256};
use tracing::{Instrument as _, Span};

use super::{
    answer::Answer,
    error::StepError,
    estimate,
    judge::{self, Scores},
    preflight,
    request::Step,
    sealed::{self, SealedPrompt},
    spans,
};
use crate::{
    domain::{
        budget::KeyLimit,
        command::{Admit, Command},
        event::{Event, StepAdmitted},
        ids::Micros,
        policy::{CallerScore, MemoryMode, Moral, Policy, ScorerId},
    },
    engine::{
        append::{self, propose},
        caches::ItemDigest,
        content,
    },
    store::{
        subject::{Subject, SubjectError},
        writer::{Actor, Claim, Committed, Earlier, Outcome, Proposal, WriteError, prompt_hmac},
    },
    telemetry::traces,
};

/// The decision on a request.
pub(super) enum Admission {
    /// The step may call the model.
    Admitted(AdmittedStep),
    /// The moral filter or the sleep phase rejected it.
    Rejected(Box<Answer>),
    /// The idempotency key belongs to an earlier step.
    Duplicate(Earlier),
}

/// A step that may call the model.
pub(super) struct AdmittedStep {
    /// The step's number.
    pub(super) step: u64,
    pub(super) event: Box<StepAdmitted>,
    /// The use of the memory.
    pub(super) memory: MemoryMode,
    pub(super) subject: Arc<Subject>,
    pub(super) actor: Actor,
}

/// Has the request admitted or rejected. A rejection is not an error.
pub(super) async fn admit(step: Step<'_>) -> Result<Admission, StepError> {
    step.engine.metrics.requests.inc();
    preflight::check(step).await?;
    let span = spans::decide(&step.engine.id);
    let admission = decide(step).instrument(span.clone()).await;
    record_admission(&span, &admission);
    if let Ok(Admission::Rejected(_)) = &admission {
        step.engine
            .metrics
            .steps
            .latency
            .observe_with_exemplar(step.received_at.elapsed(), traces::exemplar());
    }
    admission
}

async fn decide(step: Step<'_>) -> Result<Admission, StepError> {
    let (mut proposal, mut request) = propose_of(step).await?;
    let subject = proposal.subject.clone();
    let outcome = match propose(step.engine, proposal).await {
        Err(WriteError::SubjectErased) => {
            // the name belongs to a new subject from now on
            if let Some(subject) = subject {
                step.engine.subjects.forget(subject.subject_ref);
            }
            (proposal, request) = propose_of(step).await?;
            propose(step.engine, proposal).await?
        }
        other => other?,
    };
    match outcome {
        Outcome::Duplicate(first) => Ok(Admission::Duplicate(first)),
        Outcome::Committed(committed) => admission(step, committed, request).await,
    }
}

/// What of a request outlives its admission.
struct ProposedRequest {
    memory: MemoryMode,
    /// The messages in the content of the admission.
    own: Vec<(ItemDigest, usize)>,
}

async fn admission(
    step: Step<'_>,
    committed: Committed,
    request: ProposedRequest,
) -> Result<Admission, StepError> {
    let chain_hash = committed.chain_hash;
    let first = committed.events.into_iter().next();
    if let (Some((envelope, _)), Some(subject)) = (&first, &committed.subject) {
        sealed::committed(step, subject.subject_ref, envelope.position, &request.own);
    }
    match (first, committed.subject) {
        (Some((envelope, Event::StepAdmitted(event))), Some(subject)) => {
            let actor = Actor::Subject(actor(step, &subject).await?);
            let (step, memory) = (envelope.step.unwrap_or_default(), request.memory);
            Ok(Admission::Admitted(AdmittedStep { step, event, memory, subject, actor }))
        }
        (Some((envelope, Event::StepRejected(event))), _) => {
            let answer = Answer::rejected(step.caller.ids(), &envelope, chain_hash, &event);
            Ok(Admission::Rejected(Box::new(answer)))
        }
        _ => Err(StepError::defect("a command `Admit` led to neither admission nor rejection")),
    }
}

/// The command to the writer. Everything in it is computed here, outside the writer's task.
async fn propose_of(step: Step<'_>) -> Result<(Proposal, ProposedRequest), StepError> {
    let Step { engine, caller, request, .. } = step;
    let subject = engine.subjects.by_name_or_new(caller.subject()).await?;
    let actor = actor(step, &subject).await?;
    let policy = Arc::clone(&engine.view().state.policy);
    if !may_score(step, &policy.moral) {
        return Err(StepError::MayNotAssert);
    }
    let scores = judge::judge(step, &subject, &policy.moral).await?;
    let command_id = crate::ids::command_id();
    let content = SealedPrompt::of(step, &subject, policy.record.messages);
    let sealed = content::seal(&subject, command_id, &content, None)?;
    let prompt_digest: [u8; 32] = Sha256::digest(&*request.prompt).into();
    let claim = caller.idempotency_key.as_ref().map(|key| Claim {
        route: caller.route.clone(),
        key: key.clone(),
        body_digest: request.body_digest(),
    });
    let outlives = ProposedRequest { memory: request.memory(&policy), own: content.into_own() };
    let subjects = Subjects { subject: &subject, actor: &actor };
    let command = command(step, &subjects, &policy, (scores, &prompt_digest));
    let proposal = Proposal {
        command_id,
        command: Command::Admit(Box::new(command)),
        content: Some(sealed),
        subject: Some(subject),
        actor: Actor::Subject(actor),
        request_id: Some(caller.id.clone()),
        trace_id: caller.trace_id,
        prompt_digest: Some(prompt_digest),
        claim,
        ends_claim: false,
        retry_until: None,
    };
    Ok((proposal, outlives))
}

/// False if the caller's score would be the only one, and the caller may not state it.
fn may_score(step: Step<'_>, policy: &Moral) -> bool {
    step.caller.may_assert
        || step.request.moral_value.is_none()
        || policy.scorer != ScorerId::None
        || policy.caller_score == CallerScore::Ignore
}

/// The subjects of a request.
struct Subjects<'a> {
    subject: &'a Subject,
    actor: &'a Subject,
}

fn command(
    step: Step<'_>,
    subjects: &Subjects<'_>,
    policy: &Policy,
    (scores, prompt_digest): (Scores, &[u8; 32]),
) -> Admit {
    let Step { engine, caller, request, .. } = step;
    let holder = subjects.actor.subject_ref;
    let memory = request.memory(policy);
    Admit {
        subject: subjects.subject.subject_ref,
        caller_score: request.moral_value,
        scored: scores.scored,
        unavailable: Vec::new(),
        asserted: request.moral_value.map(|_| caller.may_assert),
        judged: scores.judged,
        route: caller.route.clone(),
        model: request.model.clone(),
        max_tokens: request.max_tokens.map(|limit| limit.tokens),
        shortenable: request.chat.as_ref().is_none_or(|chat| chat.shortenable),
        token_rule: Some(request.token_rule()),
        memory: Some(memory),
        top_k: if memory == MemoryMode::Off { Some(0) } else { request.context_top_k },
        prompt_chars: request.prompt.chars().count(),
        prompt_tokens: Some(estimate::prompt_tokens(request, policy)),
        price: estimate::price(&engine.parts.llm, request.model.as_deref()),
        key_limit: caller.key_limit.map(|limit| KeyLimit { holder, limit }),
        prompt_hmac: prompt_hmac(&subjects.subject.key, prompt_digest),
        sampling: request.sampling(),
        auth: caller.auth,
        replica: Some(engine.parts.replica),
        timeout: micros(engine.settings.total_timeout),
        grace: micros(engine.settings.grace),
        elapsed_ms: step.elapsed_ms(),
    }
}

/// The subject that stands for the authenticated principal.
async fn actor(step: Step<'_>, subject: &Arc<Subject>) -> Result<Arc<Subject>, SubjectError> {
    if step.caller.subject() == step.caller.actor {
        return Ok(Arc::clone(subject));
    }
    step.engine.subjects.by_name_or_new(&step.caller.actor).await
}

fn micros(duration: Duration) -> Micros {
    duration.as_micros() as Micros
}

fn record_admission(span: &Span, admission: &Result<Admission, StepError>) {
    match admission {
        Ok(Admission::Admitted(admitted)) => {
            span.record("mlsdm.accepted", true);
            span.record("mlsdm.step", admitted.step as i64);
            span.record("mlsdm.moral.score", admitted.event.moral.value);
            span.record("mlsdm.moral.threshold", admitted.event.moral.threshold_before);
        }
        Ok(Admission::Rejected(answer)) => {
            span.record("mlsdm.accepted", false);
            span.record("mlsdm.step", answer.step as i64);
            span.record("mlsdm.reason", answer.note);
            span.record("mlsdm.moral.score", answer.moral_score);
            span.record("mlsdm.moral.threshold", answer.moral_threshold);
        }
        Ok(Admission::Duplicate(_)) => {
            span.record("mlsdm.replayed", true);
        }
        Err(StepError::Write(error)) => append::record_error(span, error),
        Err(_) => {}
    }
}
