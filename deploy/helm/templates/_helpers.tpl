{{- /* 52 characters, as a StatefulSet adds a hash to its name and makes a label of it. */}}
{{- define "monitor.fullname" -}}
{{- $made := contains .Chart.Name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) }}
{{- .Values.fullnameOverride | default $made | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "monitor.selectorLabels" -}}
{{- /* Becomes the job name, which the rules expect. */ -}}
app.kubernetes.io/name: voicelink-monitor
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "monitor.metadata" -}}
name: {{ include "monitor.fullname" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "monitor.labels" . | nindent 2 }}
{{- end }}

{{- define "monitor.labels" -}}
{{ include "monitor.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "monitor.image" -}}
{{- .Values.image.repository }}
{{- if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "monitor.probe" -}}
{ path: {{ .path }}, port: http{{ if .tls }}, scheme: HTTPS{{ end }} }
{{- end }}
