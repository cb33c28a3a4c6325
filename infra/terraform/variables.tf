variable "project" {
  description = "Google Cloud project that everything is made in."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project: expected a project id such as my-project-123."
  }
}

variable "region" {
  description = "Region of the buckets, images, pipelines and the cluster."
  type        = string
  default     = "europe-west4"
}

variable "environment" {
  description = "Short name that buckets and accounts carry, such as dev or prod."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{0,7}$", var.environment))
    error_message = "environment: expected at most 8 lower-case letters and digits, such as prod."
  }
}

variable "channel" {
  description = "Channel that the scheduled pipeline promotes on."
  type        = string
  default     = "prod"
}

variable "keep_versions_days" {
  description = "Days for which an overwritten or deleted object of the registry can be brought back."
  type        = number
  default     = 90

  validation {
    condition     = var.keep_versions_days >= 7
    error_message = "keep_versions_days: expected at least 7; a slip is not always seen at once."
  }
}

variable "keep_run_days" {
  description = "Days for which the intermediate results of pipeline runs are kept."
  type        = number
  default     = 30
}

variable "keep_audit_days" {
  description = "Days for which nobody can delete the log of who changed the registry."
  type        = number
  default     = 400
}

variable "schedule" {
  description = "When the pipeline runs, in cron's words; empty for never."
  type        = string
  default     = "0 2 * * *"
}

variable "time_zone" {
  description = "Time zone of the schedule."
  type        = string
  default     = "Etc/UTC"
}

variable "pipeline_version" {
  description = "Version of the uploaded pipeline that the schedule starts: the commit, as CI names it."
  type        = string
  default     = ""

  validation {
    condition     = var.pipeline_version != "latest"
    error_message = "pipeline_version: expected a commit; what runs at night must not change by itself."
  }
}

variable "queries" {
  description = "The shopper photos' table in the catalog bucket; empty for none: then quality is measured on catalog images alone."
  type        = string
  default     = "queries.csv"
}

variable "votes" {
  description = "The crowd's votes in the catalog bucket, such as votes.csv; empty for none."
  type        = string
  default     = ""
}

variable "raters" {
  description = "Who judges the nightly candidate: web for people, none for nobody (it is built and measured, never promoted)."
  type        = string
  default     = "web"

  validation {
    condition     = contains(["web", "none"], var.raters)
    error_message = "raters: expected web or none; simulated raters are for demos."
  }
}

variable "notify" {
  description = "Whether the nightly run posts its outcome to the address in the secret webhook."
  type        = bool
  default     = false
}

variable "pipeline_parameters" {
  description = "Further parameters of the scheduled run by name, numbers as numbers: { evaluate_margin = 0.01 }."
  type        = any
  default     = {}

  validation {
    condition = length(setintersection(keys(var.pipeline_parameters), [
      "catalog", "taxonomy", "queries", "votes", "registry", "channel", "raters", "notify_webhook_secret",
    ])) == 0
    error_message = "pipeline_parameters: catalog, taxonomy and registry are the buckets'; queries, votes, channel, raters and notify have variables of their own."
  }
}

variable "cluster" {
  description = "Whether to make a GKE cluster for serving, rating and console."
  type        = bool
  default     = true
}

variable "namespace" {
  description = "Kubernetes namespace of serving, rating and console."
  type        = string
  default     = "lookalike-prod"
}

variable "github_repository" {
  description = "GitHub repository whose main branch may push images and pipelines: owner/name; empty for none."
  type        = string
  default     = ""
}

variable "on_call_email" {
  description = "Who gets the alerts; empty for nobody."
  type        = string
  default     = ""
}

variable "operators" {
  description = "Who may use the console and roll back from a terminal, such as group:search-oncall@example.com."
  type        = list(string)
  default     = []
}

variable "max_index_age_hours" {
  description = "Alert when what shoppers see was built longer ago, in hours."
  type        = number
  default     = 36
}

variable "max_p99_seconds" {
  description = "Alert when the slowest hundredth of item searches takes longer, in seconds."
  type        = number
  default     = 0.1
}
