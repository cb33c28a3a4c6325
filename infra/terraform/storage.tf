locals {
  bucket_prefix = "${var.project}-lookalike-${var.environment}"
}

# Bundles, verdicts, campaigns, channels. No retention lock: moving a channel overwrites one object.
# Nothing is lost all the same: every overwritten or deleted object stays as an old version.
resource "google_storage_bucket" "registry" {
  name                        = local.bucket_prefix
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = false

  versioning {
    enabled = true
  }

  soft_delete_policy {
    retention_duration_seconds = 30 * 24 * 3600
  }

  lifecycle_rule {
    condition {
      days_since_noncurrent_time = var.keep_versions_days
      with_state                 = "ARCHIVED"
    }
    action {
      type = "Delete"
    }
  }

  # Parts of uploads that were never finished.
  lifecycle_rule {
    condition {
      age = 7
    }
    action {
      type = "AbortIncompleteMultipartUpload"
    }
  }

  lifecycle {
    prevent_destroy = true
  }

  depends_on = [google_project_service.used]
}

# Catalogs and their images, as the shop delivers them.
resource "google_storage_bucket" "catalog" {
  name                        = "${local.bucket_prefix}-catalog"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = false

  versioning {
    enabled = true
  }

  lifecycle_rule {
    condition {
      days_since_noncurrent_time = var.keep_versions_days
      with_state                 = "ARCHIVED"
    }
    action {
      type = "Delete"
    }
  }

  depends_on = [google_project_service.used]
}

# What steps pass to each other, checkpoints among it. A run can be made again: nothing is kept long.
resource "google_storage_bucket" "runs" {
  name                        = "${local.bucket_prefix}-runs"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = false

  versioning {
    enabled = true
  }

  lifecycle_rule {
    condition {
      age = var.keep_run_days
    }
    action {
      type = "Delete"
    }
  }

  lifecycle_rule {
    condition {
      days_since_noncurrent_time = 7
      with_state                 = "ARCHIVED"
    }
    action {
      type = "Delete"
    }
  }

  depends_on = [google_project_service.used]
}

# Who wrote what into the registry, by Google's word and not by ours; nobody can delete it early.
resource "google_storage_bucket" "audit" {
  name                        = "${local.bucket_prefix}-audit"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = false

  retention_policy {
    retention_period = var.keep_audit_days * 24 * 3600
  }

  lifecycle_rule {
    condition {
      age = var.keep_audit_days + 30
    }
    action {
      type = "Delete"
    }
  }

  lifecycle {
    prevent_destroy = true
  }

  depends_on = [google_project_service.used]
}

resource "google_project_iam_audit_config" "storage" {
  project = var.project
  service = "storage.googleapis.com"

  audit_log_config {
    log_type = "DATA_WRITE"
  }
}

resource "google_logging_project_sink" "audit" {
  name                   = "lookalike-${var.environment}-audit"
  destination            = "storage.googleapis.com/${google_storage_bucket.audit.name}"
  unique_writer_identity = true

  filter = join(" AND ", [
    "logName=\"projects/${var.project}/logs/cloudaudit.googleapis.com%2Fdata_access\"",
    "resource.type=\"gcs_bucket\"",
    "resource.labels.bucket_name=\"${google_storage_bucket.registry.name}\"",
  ])
}

resource "google_storage_bucket_iam_member" "audit_writer" {
  bucket = google_storage_bucket.audit.name
  role   = "roles/storage.objectCreator"
  member = google_logging_project_sink.audit.writer_identity
}
