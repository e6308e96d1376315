//! A keeper's second half: what is published, put right where somebody else has changed it, and whom callers trust then.

use contract::objects;
use kube::api::{Patch, PatchParams};
use tokio::time::Instant;
use tracing::{info, warn};

use super::configuration::View;
use super::keeper::{Keeper, Trouble};
use crate::kubernetes::call;
use crate::tls::Trust;

impl Keeper {
    /// Writes the caBundle, if it isn't what it should be.
    pub(super) async fn tend_publication(&mut self) -> Result<bool, Trouble> {
        let (Some(bundle), Some(Some(view))) = (&self.held, &self.view) else { return Ok(false) };
        let desired = bundle.pem();
        if view.published() == Some(desired.as_bytes()) {
            self.ours = Some(desired);
            return Ok(false);
        }
        if self.pace.rest(Instant::now()).is_some() {
            return Ok(false);
        }
        // Another replica may know better: two that undo each other's work would be worse than one that waits.
        if self.reread().await? {
            return Ok(true);
        }
        let Some(Some(view)) = &self.view else { return Ok(false) };
        let by = who(view);
        let patch = view.patch(&self.plan.config_name, &desired);
        let params = PatchParams::apply(objects::WEBHOOK_MANAGER).force();
        match call(self.configurations.patch(&self.plan.config_name, &params, &Patch::Apply(patch))).await {
            Ok(configuration) => {
                let first = self.ours.as_ref() != Some(&desired);
                self.see(Some(View::from(configuration)));
                self.tell_publication(first, &by);
                Ok(true)
            }
            Err(error) if error.code() == 409 || error.code() == 404 => {
                let configuration = call(self.configurations.get_opt(&self.plan.config_name)).await?;
                self.see(configuration.map(View::from));
                Ok(true)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn tell_publication(&mut self, first: bool, by: &str) {
        if first {
            return info!(configuration = self.plan.config_name, "published the caBundle");
        }
        self.out.metrics.heals.inc();
        match self.pace.wrote(Instant::now()) {
            ..FIGHT => info!(by, "the caBundle was changed: put right"),
            times => warn!(
                by,
                times,
                "the caBundle is changed again and again: whoever does it must leave it alone; waiting longer now"
            ),
        }
    }

    pub(super) fn see(&mut self, view: Option<View>) {
        if let Some(now) = view.as_ref().and_then(View::published)
            && self.published.as_ref().is_none_or(|(before, _)| before != now)
        {
            self.published = Some((now.to_vec(), Instant::now()));
        }
        self.view = Some(view);
    }

    /// For how long the authorities that are held have been published, all of them; `None`: they aren't.
    pub(super) fn published_for(&self) -> Option<time::Duration> {
        let desired = self.held.as_ref()?.pem();
        let now = self.view.as_ref()?.as_ref()?.published()?;
        let (published, since) = self.published.as_ref()?;
        let whole = now == desired.as_bytes() && published == now;
        whole.then(|| time::Duration::try_from(since.elapsed()).unwrap_or(time::Duration::MAX))
    }

    /// Says whom callers trust, so that readiness can be proven.
    pub(super) fn face(&self) {
        let trust = self.trust();
        self.out.trust.send_if_modified(|before| {
            let changed = *before != trust;
            *before = trust;
            changed
        });
    }

    fn trust(&self) -> Trust {
        let (troubles, name) = (&self.troubles, &self.plan.config_name);
        if self.served.is_none() {
            let why = troubles.reading_secret.trouble().or_else(|| troubles.authority.trouble());
            let why = why.unwrap_or("the Secret has not been read yet");
            return Trust::Nobody(format!("there is no certificate authority: {why}"));
        }
        match &self.view {
            None => {
                let why = troubles.reading_configuration.trouble().unwrap_or("it has not been read yet");
                Trust::Nobody(format!("MutatingWebhookConfiguration '{name}': {why}"))
            }
            Some(None) => Trust::Nobody(format!(
                "there is no MutatingWebhookConfiguration '{name}': apply the manifests, or set --config-name"
            )),
            Some(Some(view)) => match view.bundles() {
                Ok(bundles) => Trust::Bundles(bundles),
                Err(why) => Trust::Nobody(format!("MutatingWebhookConfiguration '{name}': {why}")),
            },
        }
    }
}

/// The field manager that changed the caBundle, as far as that can be known.
fn who(view: &View) -> String {
    match view.changed_by(objects::WEBHOOK_MANAGER) {
        Ok(name) => name.to_owned(),
        Err(others) if others.is_empty() => "unknown".to_owned(),
        Err(others) => format!("unknown, perhaps one of: {}", others.join(", ")),
    }
}

/// So many changes without a calm in between are no accident.
const FIGHT: u32 = 4;
