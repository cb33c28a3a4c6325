# Who writes what in the registry. `create` cannot overwrite or delete: bundles, verdicts and the
# sealed history are written once by permission, not only by agreement. `change` can.
#
# Vertex AI and Kubeflow run all steps of a run as one account, so the boundary lies between the two
# pipelines: with raters who are people, visual-search ends undecided and release promotes. Policies,
# and removing versions for good (claims, condemned, bundles), stay with who administers the project.
locals {
  access = {
    builder = {
      bundles   = "create" # index
      claims    = "change" # index, while it uploads
      verdicts  = "create" # evaluate
      campaigns = "change" # human_eval asks
      runs      = "change" # what the exit handler reads
      reuse     = "change" # transform and embed keep what the next run takes over
    }
    releaser = {
      verdicts  = "create" # judge
      campaigns = "change" # judge concludes
      channels  = "change" # promote
      history   = "create" # promote
      runs      = "change" # what the exit handler reads
    }
    console = {
      channels    = "change"
      history     = "create"
      withdrawals = "change"
    }
    rating = {
      campaigns = "change"
    }
    serving = {
      queries = "create" # the sampled query log
      trials  = "create" # the end of a canary that stepped back
    }
  }

  roles = {
    create = "roles/storage.objectCreator"
    change = "roles/storage.objectUser"
  }

  writes = merge([
    for account, prefixes in local.access : {
      for prefix, how in prefixes : "${account}/${prefix}" => {
        account = account
        prefix  = prefix
        role    = local.roles[how]
      }
    }
  ]...)

  registry_objects = "projects/_/buckets/${google_storage_bucket.registry.name}/objects/${local.registry_prefix}"
  registry_prefix  = "registry"
}

resource "google_storage_bucket_iam_member" "reads_registry" {
  for_each = local.access

  bucket = google_storage_bucket.registry.name
  role   = "roles/storage.objectViewer"
  member = local.members[each.key]
}

resource "google_storage_bucket_iam_member" "writes_registry" {
  for_each = local.writes

  bucket = google_storage_bucket.registry.name
  role   = each.value.role
  member = local.members[each.value.account]

  condition {
    title      = "only ${each.value.prefix}"
    expression = "resource.name.startsWith(\"${local.registry_objects}/${each.value.prefix}/\")"
  }
}

# On call from a terminal: `lookalike index rollback` moves a channel.
resource "google_storage_bucket_iam_member" "operators_read" {
  for_each = toset(var.operators)

  bucket = google_storage_bucket.registry.name
  role   = "roles/storage.objectViewer"
  member = each.value
}

resource "google_storage_bucket_iam_member" "operators_write" {
  for_each = {
    for pair in setproduct(var.operators, ["channels", "history", "withdrawals"]) :
    "${pair[0]} ${pair[1]}" => { member = pair[0], prefix = pair[1] }
  }

  bucket = google_storage_bucket.registry.name
  role   = local.roles[each.value.prefix == "history" ? "create" : "change"]
  member = each.value.member

  condition {
    title      = "only ${each.value.prefix}"
    expression = "resource.name.startsWith(\"${local.registry_objects}/${each.value.prefix}/\")"
  }
}

resource "google_storage_bucket_iam_member" "reads_catalog" {
  bucket = google_storage_bucket.catalog.name
  role   = "roles/storage.objectViewer"
  member = local.members["builder"]
}

resource "google_storage_bucket_iam_member" "uses_runs" {
  for_each = toset(["builder", "releaser", "trainer"])

  bucket = google_storage_bucket.runs.name
  role   = "roles/storage.objectUser"
  member = local.members[each.key]
}

# The content is put in by hand and never seen by Terraform: gcloud secrets versions add ...
resource "google_secret_manager_secret" "used" {
  for_each = toset(["verdict-key", "webhook"])

  secret_id = "lookalike-${var.environment}-${each.key}"

  replication {
    auto {}
  }

  depends_on = [google_project_service.used]
}

# Gates sign verdicts with the key and promote checks the signature.
resource "google_secret_manager_secret_iam_member" "pipelines" {
  for_each = {
    for pair in setproduct(keys(google_secret_manager_secret.used), ["builder", "releaser"]) :
    "${pair[1]} ${pair[0]}" => { secret = pair[0], account = pair[1] }
  }

  secret_id = google_secret_manager_secret.used[each.value.secret].id
  role      = "roles/secretmanager.secretAccessor"
  member    = local.members[each.value.account]
}
