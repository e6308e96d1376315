{{/* An image by digest or tag, from the registry of the values. Arguments: the root, the image. */}}
{{- define "couchdiscover.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- with $root.Values.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- $image.repository -}}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default $root.Chart.AppVersion }}{{ end -}}
{{- end -}}

{{/* The ports. Port 10250 of a node belongs to its kubelet. */}}
{{- define "couchdiscover.port" -}}
{{- $default := ternary 10260 8443 .Values.webhook.hostNetwork -}}
{{- int (.Values.webhook.port | default $default) -}}
{{- end -}}
{{- define "couchdiscover.probePort" -}}
{{- $default := ternary 10261 8080 .Values.webhook.hostNetwork -}}
{{- int (.Values.webhook.probePort | default $default) -}}
{{- end -}}

{{/* Annotations of the MutatingWebhookConfiguration. */}}
{{- define "couchdiscover.configurationAnnotations" -}}
{{- $annotations := dict -}}
{{- if eq .Values.platform "aks" }}{{ $_ := set $annotations "admissions.enforcer/disabled" "true" }}{{ end -}}
{{- if .Values.certManager.enabled -}}
{{- $_ := set $annotations "cert-manager.io/inject-ca-from" (printf "%s/couchdiscover-webhook" .Release.Namespace) -}}
{{- end -}}
{{- if $annotations }}{{ toYaml $annotations }}{{ end -}}
{{- end -}}

{{/* The variables of `serve` that have a value. What is empty has the program's default. */}}
{{- define "couchdiscover.variables" -}}
{{- $agent := .Values.agent -}}
{{- $webhook := .Values.webhook -}}
{{- $cookie := $agent.erlangCookie | default (ternary "flag" "" (eq .Values.platform "openshift")) -}}
{{- $clientCA := ternary "/client-ca/ca.crt" "" (ne $webhook.clientCASecret "") -}}
{{- $maxInflight := "" -}}
{{- if $webhook.maxInflight }}{{ $maxInflight = int $webhook.maxInflight | toString }}{{ end -}}
{{- range list
  (list "COUCHDISCOVER_AGENT_IMAGE" (include "couchdiscover.image" (list . $agent.image)))
  (list "COUCHDISCOVER_AGENT_IMAGE_PULL_POLICY" $agent.image.pullPolicy)
  (list "COUCHDISCOVER_AGENT_IMAGE_PULL_SECRETS" (join "," $agent.imagePullSecrets))
  (list "COUCHDISCOVER_AGENT_CPU_REQUEST" $agent.resources.requests.cpu)
  (list "COUCHDISCOVER_AGENT_CPU_LIMIT" $agent.resources.limits.cpu)
  (list "COUCHDISCOVER_AGENT_MEMORY_REQUEST" $agent.resources.requests.memory)
  (list "COUCHDISCOVER_AGENT_MEMORY_LIMIT" $agent.resources.limits.memory)
  (list "COUCHDISCOVER_AGENT_LOG_LEVEL" $agent.logLevel)
  (list "COUCHDISCOVER_AGENT_LOG_FORMAT" $agent.logFormat)
  (list "COUCHDISCOVER_SIDECAR" $agent.sidecar)
  (list "COUCHDISCOVER_READINESS" $agent.readiness)
  (list "COUCHDISCOVER_ERLANG_COOKIE" $cookie)
  (list "COUCHDISCOVER_CLUSTER_DOMAIN" $agent.clusterDomain)
  (list "COUCHDISCOVER_CLIENT_CA" $clientCA)
  (list "COUCHDISCOVER_EXTRA_SAN" (join "," $webhook.extraSANs))
  (list "COUCHDISCOVER_DRAIN_DELAY" $webhook.drainDelay)
  (list "COUCHDISCOVER_MAX_INFLIGHT" $maxInflight)
  (list "LOG_LEVEL" $webhook.logLevel)
  (list "LOG_FORMAT" $webhook.logFormat) }}
{{- if index . 1 }}
- name: {{ index . 0 }}
  value: {{ index . 1 | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Refuses what cannot work. */}}
{{- define "couchdiscover.refusals" -}}
{{- $excluded := list "default" "kube-system" "kube-public" "kube-node-lease" -}}
{{- if has .Release.Namespace $excluded -}}
{{- fail (printf "\n\nThe webhook would be in namespace '%s', which is then left out of the injection. Fix: helm install couchdiscover manifests/chart --namespace couchdiscover --create-namespace" .Release.Namespace) -}}
{{- end -}}
{{- if eq (include "couchdiscover.port" .) (include "couchdiscover.probePort" .) -}}
{{- fail (printf "\n\nwebhook.port and webhook.probePort are both %s. Fix: --set webhook.probePort=8080" (include "couchdiscover.port" .)) -}}
{{- end -}}
{{- if and .Values.webhook.hostNetwork (eq (include "couchdiscover.port" .) "10250") -}}
{{- fail "\n\nwebhook.port is 10250, which the kubelet has in the network of its node. Fix: --set webhook.port=10260" -}}
{{- end -}}
{{- end -}}
