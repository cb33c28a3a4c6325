# What wakes somebody up, each with what to do first. The numbers come from serving's /metrics
# through managed Prometheus (infra/kubernetes/monitoring); docs/runbook.md has the commands.
locals {
  alerts = {
    index_too_old = {
      title    = "What shoppers see is too old"
      query    = "max(lookalike_index_age_seconds) > ${var.max_index_age_hours * 3600}"
      for      = "900s"
      severity = "WARNING"
      advice   = "Did the nightly run fail, or a gate refuse it? `lookalike index status` says what is live and since when; the last run's notification says why not."
    }
    bundle_refused = {
      title    = "A live bundle was refused by a server"
      query    = "sum(increase(lookalike_failed_loads_total[15m])) > 0"
      for      = "0s"
      severity = "CRITICAL"
      advice   = "Servers go on with the last good bundle. `/readyz` of a pod names the check that failed; `lookalike index rollback` takes the channel back."
    }
    channel_unreadable = {
      title    = "Servers cannot read the channel"
      query    = "max(lookalike_channel_unreadable) > 0"
      for      = "600s"
      severity = "WARNING"
      advice   = "They answer from what they have; promotions and rollbacks do not reach them. Look at the bucket's permissions and at Google Cloud's status."
    }
    slow_answers = {
      title    = "Answers are slow"
      query    = "histogram_quantile(0.99, sum by (le) (rate(lookalike_request_seconds_bucket{route=~\".*similar\"}[5m]))) > ${var.max_p99_seconds}"
      for      = "600s"
      severity = "WARNING"
      advice   = "Is the autoscaler at its maximum? Did it begin with a promotion (`lookalike index history`)? Then roll back first and look after."
    }
    failing_answers = {
      title    = "Answers fail"
      query    = "sum(rate(lookalike_requests_total{status=~\"5..\"}[5m])) / sum(rate(lookalike_requests_total[5m])) > 0.01"
      for      = "300s"
      severity = "CRITICAL"
      advice   = "Did it begin with a promotion (`lookalike index history`)? Then `lookalike index rollback`."
    }
    empty_answers = {
      title    = "Searches find nothing"
      query    = "sum(rate(lookalike_empty_answers_total[15m])) / sum(rate(lookalike_answers_total[15m])) > 0.05"
      for      = "900s"
      severity = "WARNING"
      advice   = "Is the index much smaller than the one before? `lookalike index diff` compares the two."
    }
  }
}

resource "google_monitoring_notification_channel" "on_call" {
  count = var.on_call_email != "" ? 1 : 0

  display_name = "Lookalike on call (${var.environment})"
  type         = "email"

  labels = {
    email_address = var.on_call_email
  }

  depends_on = [google_project_service.used]
}

resource "google_monitoring_alert_policy" "metric" {
  for_each = local.alerts

  display_name          = "Lookalike ${var.environment}: ${each.value.title}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = google_monitoring_notification_channel.on_call[*].id

  conditions {
    display_name = each.value.title

    condition_prometheus_query_language {
      query               = each.value.query
      duration            = each.value.for
      evaluation_interval = "60s"
      alert_rule          = each.key
      rule_group          = "lookalike"
    }
  }

  documentation {
    content   = each.value.advice
    mime_type = "text/markdown"
  }

  alert_strategy {
    auto_close = "86400s"
  }

  depends_on = [google_project_service.used]
}

resource "google_monitoring_alert_policy" "run_failed" {
  display_name          = "Lookalike ${var.environment}: A pipeline run failed"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = google_monitoring_notification_channel.on_call[*].id

  conditions {
    display_name = "A pipeline run failed"

    condition_matched_log {
      filter = join(" AND ", [
        "resource.type=\"aiplatform.googleapis.com/PipelineJob\"",
        "jsonPayload.state=\"PIPELINE_STATE_FAILED\"",
      ])
    }
  }

  documentation {
    content   = "What is live stays live. The run's page names the step; submitting it again goes on from the finished steps."
    mime_type = "text/markdown"
  }

  alert_strategy {
    auto_close = "86400s"

    notification_rate_limit {
      period = "3600s"
    }
  }

  depends_on = [google_project_service.used]
}

# A channel may be moved by the releaser, by the console and by operators; anybody else is news.
resource "google_monitoring_alert_policy" "channel_moved_by_stranger" {
  display_name          = "Lookalike ${var.environment}: Somebody else moved a channel"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = google_monitoring_notification_channel.on_call[*].id

  conditions {
    display_name = "Somebody else moved a channel"

    condition_matched_log {
      filter = join(" AND ", [
        "logName=\"projects/${var.project}/logs/cloudaudit.googleapis.com%2Fdata_access\"",
        "protoPayload.methodName=(\"storage.objects.create\" OR \"storage.objects.delete\")",
        "protoPayload.resourceName:\"${local.registry_objects}/channels/\"",
        "NOT protoPayload.authenticationInfo.principalEmail=(${join(" OR ", [for email in concat(
          [local.emails["releaser"], local.emails["console"]],
          [for member in var.operators : split(":", member)[1] if startswith(member, "user:")],
        ) : "\"${email}\""])})",
      ])
    }
  }

  documentation {
    content   = "`lookalike index history` shows the move with its reason; the audit bucket has the account. Freeze the channel until it is explained: `lookalike index freeze`."
    mime_type = "text/markdown"
  }

  alert_strategy {
    auto_close = "86400s"

    notification_rate_limit {
      period = "300s"
    }
  }

  depends_on = [google_project_service.used]
}
