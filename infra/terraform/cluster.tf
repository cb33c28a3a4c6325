# Autopilot: Workload Identity, Dataplane V2 (which enforces network policies), shielded nodes and
# managed Prometheus come switched on.
resource "google_container_cluster" "serving" {
  count = var.cluster ? 1 : 0

  name                = "lookalike-${var.environment}"
  location            = var.region
  enable_autopilot    = true
  deletion_protection = true

  release_channel {
    channel = "REGULAR"
  }

  private_cluster_config {
    enable_private_nodes    = true
    enable_private_endpoint = false
  }

  ip_allocation_policy {}

  # Nodes without public addresses reach the registry and Artifact Registry inside Google's network.
  network    = google_compute_network.serving[0].id
  subnetwork = google_compute_subnetwork.serving[0].id

  depends_on = [google_project_service.used]
}

resource "google_compute_network" "serving" {
  count = var.cluster ? 1 : 0

  name                    = "lookalike-${var.environment}"
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "serving" {
  count = var.cluster ? 1 : 0

  name                     = "lookalike-${var.environment}"
  region                   = var.region
  network                  = google_compute_network.serving[0].id
  ip_cidr_range            = "10.20.0.0/20"
  private_ip_google_access = true
}
