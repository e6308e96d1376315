//! The causes of a failed call of the webhook, told apart by the API server's words.

use super::fixes::{APPLY, FIX_UNTRUSTED, READ_LOG};

/// The fix for a failed call.
pub(super) fn fix(message: &str) -> &'static str {
    let cause = behind_url(message);
    let known = CAUSES.iter().find(|(words, _)| words.iter().any(|word| cause.contains(word)));
    known.map_or(READ_LOG, |(_, fix)| *fix)
}

/// The words behind the URL of the call. The URL itself contains `timeout=5s`, the Service's name and its port.
fn behind_url(message: &str) -> &str {
    let Some((_, rest)) = message.split_once("Post \"") else { return message };
    rest.split_once("\": ").map_or(message, |(_, cause)| cause)
}

/// The first cause of which one of the words occurs. Certificates before networks: a TLS error may contain the words of a
/// network error, and an error of a proxy those of both.
const CAUSES: &[(&[&str], &str)] = &[
    (
        &["proxyconnect", "Proxy Authentication Required", "Bad Gateway", "Service Unavailable"],
        "the API server calls the webhook through an HTTP proxy. Exempt the Services: add '.svc' and the cluster's Service \
         range to NO_PROXY in the API server's environment (for kubeadm: /etc/kubernetes/manifests/kube-apiserver.yaml)",
    ),
    (
        &["error dialing backend", "No agent available", "failed to find agent", "konnectivity", "tunnel"],
        "the tunnel from the control plane to the nodes does not work (konnectivity, Tunnelfront). Check its agents: kubectl -n \
         kube-system get pods; other webhooks fail for the same reason",
    ),
    (
        &["Address is not allowed", "address not allowed"],
        "the control plane has no route to addresses of pods, as on EKS with a third-party network: apply the component \
         host-network",
    ),
    (
        &[
            "x509: certificate is valid for",
            "x509: certificate is not valid for",
            "doesn't contain any IP SANs",
        ],
        "another program answers at that address with a certificate of its own, such as a mesh, a load balancer or another \
         program on that port of the node. Find it: kubectl -n couchdiscover get endpointslices -o wide; with host-network, \
         choose a free port; exclude the webhook from the mesh",
    ),
    (
        &["certificate has expired or is not yet valid"],
        "the served certificate has expired, or a clock is wrong. Compare the clocks of the nodes, then restart the webhook: \
         kubectl -n couchdiscover rollout restart deployment/couchdiscover-webhook",
    ),
    (
        &["tls: bad certificate", "tls: certificate required", "tls: unknown certificate authority"],
        "the webhook demands a certificate of the API server (component client-ca), and does not accept this one. Give API \
         servers one that this CA signed, or remove the component",
    ),
    (&["x509", "tls: failed to verify certificate"], FIX_UNTRUSTED),
    (
        &["server gave HTTP response to HTTPS client", "first record does not look like a TLS handshake"],
        "a program without TLS answers at that address, such as a mesh or a proxy. Exclude the webhook from it, and check that \
         the Service's targetPort is 'https': kubectl -n couchdiscover get service couchdiscover-webhook -o yaml",
    ),
    (
        &["no endpoints available", "connection refused"],
        "no webhook pod listens: kubectl -n couchdiscover get pods",
    ),
    (
        &["no such host", "server misbehaving"],
        "the API server cannot resolve the name. A webhook inside of the cluster is called by 'service', not by 'url': apply the \
         manifests again: kubectl apply -k manifests/base",
    ),
    (
        &["\" not found", "not found"],
        "the Service does not exist. Apply the manifests again: kubectl apply -k manifests/base",
    ),
    (
        &["EOF", "connection reset by peer", "broken pipe", "use of closed network connection"],
        "something in between closes the connection, most often a mesh that demands mTLS or a load balancer. Exclude the \
         webhook's pods from the mesh; if there is none, read the webhook's log: kubectl -n couchdiscover logs \
         deployment/couchdiscover-webhook",
    ),
    (
        &[
            "deadline exceeded",
            "Client.Timeout",
            "i/o timeout",
            "TLS handshake timeout",
            "no route to host",
            "network is unreachable",
            "operation timed out",
            "request canceled",
        ],
        "packets of the control plane do not arrive: open the webhook's port in the firewall, or use the component \
         other-port or host-network",
    ),
    (
        &["invalid webhook response", "expected response.uid", "could not get REST client", "invalid patch"],
        "the webhook and its configuration are of different releases, or another program answers. Apply the manifests again: \
         kubectl apply -k manifests/base",
    ),
    (
        &[
            "the server could not find the requested resource",
            "an error on the server",
            "the server rejected our request",
        ],
        READ_LOG,
    ),
    (&["caBundle", "unable to load root certificates"], APPLY),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Words that API servers and Go's client use, each behind a URL that contains words of other causes.
    #[test]
    fn each_wording_leads_to_its_cause_and_the_url_to_none() {
        for (cause, fix_begins) in [
            ("context deadline exceeded", "packets of the control plane"),
            (
                "net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)",
                "packets",
            ),
            ("dial tcp 10.1.2.3:8443: i/o timeout", "packets"),
            ("dial tcp 10.1.2.3:8443: connect: no route to host", "packets"),
            ("net/http: TLS handshake timeout", "packets"),
            ("dial tcp 10.1.2.3:8443: connect: connection refused", "no webhook pod listens"),
            ("no endpoints available for service \"couchdiscover-webhook\"", "no webhook pod listens"),
            ("service \"couchdiscover-webhook\" not found", "the Service does not exist"),
            ("EOF", "something in between"),
            ("read tcp 10.0.0.1:1->10.0.0.2:8443: read: connection reset by peer", "something in between"),
            ("Address is not allowed", "the control plane has no route"),
            ("Bad Gateway", "the API server calls the webhook through an HTTP proxy"),
            (
                "proxyconnect tcp: dial tcp: lookup proxy.corp on 10.0.0.10:53: no such host",
                "the API server calls",
            ),
            ("error dialing backend: dial timeout, backstop", "the tunnel"),
            ("No agent available", "the tunnel"),
            (
                "tls: failed to verify certificate: x509: certificate signed by unknown authority",
                "the caBundle",
            ),
            (
                "x509: certificate is valid for kubernetes, not couchdiscover-webhook.couchdiscover.svc",
                "another program",
            ),
            (
                "x509: certificate has expired or is not yet valid: current time 2026-01-01",
                "the served certificate has expired",
            ),
            ("remote error: tls: bad certificate", "the webhook demands"),
            ("remote error: tls: certificate required", "the webhook demands"),
            ("http: server gave HTTP response to HTTPS client", "a program without TLS"),
            ("tls: first record does not look like a TLS handshake", "a program without TLS"),
            (
                "dial tcp: lookup couchdiscover-webhook.couchdiscover.svc on 10.0.0.2:53: no such host",
                "the API server cannot resolve",
            ),
            ("a wording of tomorrow", "kubectl -n couchdiscover logs"),
        ] {
            let url = "https://not-found.EOF.x509.svc:443/mutate?timeout=5s";
            let message = format!("failed to call webhook: Post \"{url}\": {cause}");
            assert!(fix(&message).starts_with(fix_begins), "{cause}: {}", fix(&message));
        }
        assert!(
            fix("failed to call webhook: the server is currently unable to handle the request")
                .starts_with("kubectl")
        );
        assert!(
            fix("failed to call webhook: an error on the server (\"\") has prevented the request")
                .starts_with("kubectl")
        );
    }
}
