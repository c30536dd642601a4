//! Managed API keys follow the system log, whether this process or another replica appends to it.

use std::sync::Arc;

use tokio::sync::watch;

use super::Authenticator;
use crate::{lifecycle::Tasks, store::writer::View};

impl Authenticator {
    /// Applies the keys of the system log now and after every change, until the server stops. Events
    /// of other replicas take effect as soon as this replica folds them.
    pub fn follow_keys(self: &Arc<Self>, mut views: watch::Receiver<Arc<View>>, tasks: &Tasks) {
        self.apply_keys(&Arc::clone(&views.borrow_and_update()));
        let (auth, stop) = (Arc::clone(self), tasks.stop().clone());
        tasks.spawn("keys", async move {
            loop {
                tokio::select! {
                    () = stop.soft() => return,
                    changed = views.changed() => if changed.is_err() { return },
                }
                let view = Arc::clone(&views.borrow_and_update());
                auth.apply_keys(&view);
            }
        });
    }

    /// Applies the keys of one state of the system log, if API keys are accepted. A handler that
    /// appends to the log calls this before it responds, so that a revoked key is refused from then
    /// on.
    pub fn apply_keys(&self, view: &View) {
        if let Some(keys) = &self.keys {
            let managed = &view.state.keys;
            keys.manage(managed.changed(), managed.iter());
        }
    }
}
