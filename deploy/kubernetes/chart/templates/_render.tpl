{{/* The manifests of one file, changed by the values: (list $ FILE). */}}
{{- define "numastow.render" -}}
{{- $root := index . 0 -}}
{{- $values := $root.Values -}}
{{- $text := required (printf "%s is missing: the chart was copied without what files/ links to" (index . 1)) ($root.Files.Get (index . 1)) -}}
{{- $text = $text | replace (printf "localhost/numastow:%s" $root.Chart.AppVersion) $values.image -}}
{{- $text = $text | replace "/opt/numastow/bin" $values.agent.programs | replace "/var/lib/kubelet" $values.agent.kubeletFolder -}}
{{- $text = $text | replace "numastow-system" $root.Release.Namespace -}}
{{- range splitList "\n---\n" $text -}}
{{- $object := fromYaml (printf "%s\n" .) -}}
{{- with $object.Error -}}{{- fail . -}}{{- end -}}
{{- if eq $object.kind "DaemonSet" -}}
{{- include "numastow.pod" (list $root $object.spec.template.spec $values.agent) -}}
{{- if not $values.agent.systemd -}}
{{- include "numastow.withoutSystemd" $object.spec.template.spec -}}
{{- end -}}
{{- include "numastow.arguments" (list $root (index $object.spec.template.spec.containers 0)) -}}
{{- else if and (eq $object.kind "Deployment") (eq $object.metadata.name "numastow-extender") -}}
{{- include "numastow.pod" (list $root $object.spec.template.spec $values.extender) -}}
{{- else if eq $object.kind "Deployment" -}}
{{- $_ := set $object.spec "replicas" $values.scheduler.replicas -}}
{{- include "numastow.pod" (list $root $object.spec.template.spec $values.scheduler) -}}
{{- else if and (eq $object.kind "ConfigMap") (eq $object.metadata.name "numastow-agent") -}}
{{- include "numastow.settings" (list $object.data $values.agent) -}}
{{- else if and (eq $object.kind "ClusterRole") (eq $object.metadata.name "numastow-agent") $values.agent.bindingConditions -}}
{{- $watch := dict "apiGroups" (list "resource.k8s.io") "resources" (list "resourceclaims") "verbs" (list "list" "watch") -}}
{{- $_ := set $object "rules" (append $object.rules $watch) -}}
{{- else if eq $object.kind "MutatingWebhookConfiguration" -}}
{{- include "numastow.webhook" (list $root $object) -}}
{{- else if and (eq $object.kind "NetworkPolicy") (eq $object.metadata.name "numastow-metrics") -}}
{{- $from := index (index $object.spec.ingress 0).from 0 -}}
{{- $_ := set $from.namespaceSelector.matchLabels "kubernetes.io/metadata.name" $values.monitoring.namespace -}}
{{- end }}
---
{{ toYaml $object }}
{{ end -}}
{{- end -}}

{{- define "numastow.pod" -}}
{{- $root := index . 0 -}}{{- $pod := index . 1 -}}{{- $values := index . 2 -}}
{{- with $root.Values.imagePullSecrets -}}{{- $_ := set $pod "imagePullSecrets" . -}}{{- end -}}
{{- with $values.nodeSelector -}}{{- $_ := set $pod "nodeSelector" . -}}{{- end -}}
{{- with $values.tolerations -}}{{- $_ := set $pod "tolerations" . -}}{{- end -}}
{{- with $values.resources -}}{{- $_ := set (index $pod.containers 0) "resources" . -}}{{- end -}}
{{- end -}}

{{/* What components/without-systemd does. */}}
{{- define "numastow.withoutSystemd" -}}
{{- $pod := . -}}
{{- $container := index $pod.containers 0 -}}
{{- range list "dbus" "systemd" -}}
{{- $name := . -}}
{{- range list (list $pod "volumes") (list $container "volumeMounts") -}}
{{- $kept := list -}}
{{- range get (index . 0) (index . 1) -}}
{{- if ne .name $name -}}{{- $kept = append $kept . -}}{{- end -}}
{{- end -}}
{{- $_ := set (index . 0) (index . 1) $kept -}}
{{- end -}}
{{- end -}}
{{- range $container.volumeMounts -}}
{{- if .mountPropagation -}}{{- $_ := set . "mountPropagation" "None" -}}{{- end -}}
{{- end -}}
{{- end -}}

{{/* What components/extender, components/node-resource-topology and components/binding-conditions do. */}}
{{- define "numastow.arguments" -}}
{{- $root := index . 0 -}}{{- $container := index . 1 -}}
{{- if $root.Values.extender.enabled -}}
{{- $_ := set $container "args" (append $container.args (printf "--scheduler=numastow-extender.%s.svc:7200" $root.Release.Namespace)) -}}
{{- range $option, $file := dict "ca" "ca.crt" "certificate" "tls.crt" "key" "tls.key" -}}
{{- $_ := set $container "args" (append $container.args (printf "--%s=/etc/numastow/agent/%s" $option $file)) -}}
{{- end -}}
{{- end -}}
{{- if $root.Values.agent.nodeResourceTopology -}}
{{- $_ := set $container "args" (append $container.args "--node-resource-topology") -}}
{{- end -}}
{{- if $root.Values.agent.bindingConditions -}}
{{- $_ := set $container "args" (append $container.args "--binding-conditions") -}}
{{- end -}}
{{- end -}}

{{- define "numastow.settings" -}}
{{- $data := index . 0 -}}{{- $values := index . 1 -}}
{{- $more := deepCopy $values.settings -}}
{{- if ne $values.kubeletFolder "/var/lib/kubelet" -}}{{- $_ := set $more "kubelet-folder" $values.kubeletFolder -}}{{- end -}}
{{- if $more -}}
{{- $_ := set $data "agent.yaml" (printf "%s\n" (toYaml (mergeOverwrite (fromYaml (get $data "agent.yaml")) $more))) -}}
{{- end -}}
{{- end -}}

{{- define "numastow.webhook" -}}
{{- $root := index . 0 -}}{{- $object := index . 1 -}}
{{- $webhook := index $object.webhooks 0 -}}
{{- $_ := set $webhook "failurePolicy" $root.Values.scheduler.failurePolicy -}}
{{- with $root.Values.scheduler.caBundle -}}{{- $_ := set $webhook.clientConfig "caBundle" . -}}{{- end -}}
{{- if $root.Values.certManager.enabled -}}
{{- $_ := set $object.metadata "annotations" (dict "cert-manager.io/inject-ca-from" (printf "%s/numastow-webhook" $root.Release.Namespace)) -}}
{{- end -}}
{{- end -}}
