{{- define "clipstyler.name" -}}
{{- if contains "clipstyler" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-clipstyler{{ end -}}
{{- end }}

{{- define "clipstyler.selector" -}}
app.kubernetes.io/name: clipstyler
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "clipstyler.labels" -}}
{{ include "clipstyler.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "clipstyler.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default (printf "%s-%s" .Chart.AppVersion (ternary "cuda" "cpu" .Values.gpu.enabled)) }}
{{- end }}

{{- define "clipstyler.scheme" -}}
{{ ternary "HTTPS" "HTTP" (not (empty .Values.tls.secretName)) }}
{{- end }}

{{- /* Values from which settings follow. */ -}}
{{- define "clipstyler.valuesOfSettings" -}}
drain_delay_s: drain.delaySeconds
drain_grace_s: drain.graceSeconds
insecure: insecure
tls_cert: tls.secretName
tls_key: tls.secretName
tls_client_ca: tls.clientCaKey
shared_dir: sharing.claimName
peer_ca: sharing.caKey
peer_name: sharing.certificateName
tokens: tokens.secretName
tenants: tenants.secretName
database_url: database.secretName
{{- end }}

{{- /* Settings that follow from the other values; `settings` may add to them, not replace them. */ -}}
{{- define "clipstyler.settings" -}}
{{- if not (or .Values.tls.secretName .Values.insecure) }}
{{- fail "set tls.secretName, or insecure=true if the network is trusted" }}
{{- end }}
{{- $settings := dict "host" "0.0.0.0" "http_host" "0.0.0.0" "port" 50051 "http_port" 9464 }}
{{- $_ := set $settings "drain_delay_s" .Values.drain.delaySeconds }}
{{- $_ := set $settings "drain_grace_s" .Values.drain.graceSeconds }}
{{- if and .Values.gpu.enabled (not .Values.settings.device) }}
{{- $_ := set $settings "device" "cuda" }}
{{- if and (gt (int .Values.gpu.count) 1) (not .Values.settings.devices) }}{{ $_ := set $settings "devices" (printf "cuda*%d" (int .Values.gpu.count)) }}{{ end }}
{{- end }}
{{- if .Values.tls.secretName }}
{{- $_ := set $settings "tls_cert" "/run/secrets/clipstyler/tls/tls.crt" }}
{{- $_ := set $settings "tls_key" "/run/secrets/clipstyler/tls/tls.key" }}
{{- if .Values.tls.clientCaKey }}{{ $_ := set $settings "tls_client_ca" (printf "/run/secrets/clipstyler/tls/%s" .Values.tls.clientCaKey) }}{{ end }}
{{- else }}
{{- $_ := set $settings "insecure" true }}
{{- end }}
{{- if .Values.sharing.claimName }}
{{- if not .Values.database.secretName }}{{ fail "sharing needs database.secretName: replicas share a PostgreSQL database" }}{{ end }}
{{- $_ := set $settings "shared_dir" "/srv/clipstyler" }}
{{- $_ := set $settings "advertise" (printf "$(POD_NAME).%s-replicas:50051" (include "clipstyler.name" .)) }}
{{- if .Values.tls.secretName }}
{{- $_ := set $settings "peer_ca" (printf "/run/secrets/clipstyler/tls/%s" .Values.sharing.caKey) }}
{{- if .Values.sharing.certificateName }}{{ $_ := set $settings "peer_name" .Values.sharing.certificateName }}{{ end }}
{{- end }}
{{- end }}
{{- if .Values.tokens.secretName }}{{ $_ := set $settings "tokens" (printf "/run/secrets/clipstyler/tokens/%s" .Values.tokens.key) }}{{ end }}
{{- if .Values.tenants.secretName }}{{ $_ := set $settings "tenants" (printf "/run/secrets/clipstyler/tenants/%s" .Values.tenants.key) }}{{ end }}
{{- $values := include "clipstyler.valuesOfSettings" . | fromYaml }}
{{- range $name := keys .Values.settings | sortAlpha }}
{{- if or (hasKey $settings $name) (and (eq $name "database_url") $.Values.database.secretName) }}
{{- fail (printf "settings.%s would have no effect: %s" $name (ternary (printf "set %s" (get $values $name)) "it follows from the chart" (hasKey $values $name))) }}
{{- end }}
{{- end }}
{{- range $name, $value := merge $settings .Values.settings }}
- name: CLIPSTYLER_{{ upper $name }}
  value: {{ if kindIs "float64" $value }}{{ if eq (floor $value) $value }}{{ int64 $value | quote }}{{ else }}{{ $value | quote }}{{ end }}{{ else }}{{ $value | quote }}{{ end }}
{{- end }}
{{- end }}
