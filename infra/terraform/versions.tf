terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.0"
    }
  }

  # terraform init -backend-config=bucket=... ; the state names no secret's content.
  backend "gcs" {
    prefix = "lookalike"
  }
}

provider "google" {
  project = var.project
  region  = var.region

  default_labels = {
    app         = "lookalike"
    environment = var.environment
  }
}
