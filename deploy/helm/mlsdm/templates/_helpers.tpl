{{- define "mlsdm.version" -}}
{{- .Values.image.tag | default .Chart.AppVersion -}}
{{- end -}}

{{- define "mlsdm.image" -}}
{{- .Values.image.repository }}:{{ include "mlsdm.version" . -}}
{{- end -}}
