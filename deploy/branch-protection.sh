#!/usr/bin/env bash
# Protects a branch on GitHub: each check of .github/workflows/ci.yml must pass, and one person must approve.
#
#   deploy/branch-protection.sh OWNER/REPO [BRANCH]     apply (needs the GitHub CLI, logged in as an admin)
#   deploy/branch-protection.sh --print                 print the request
set -euo pipefail

request() {
  cat <<'JSON'
{
  "required_status_checks": {
    "strict": true,
    "contexts": [
      "Lint and Type Check",
      "Security Vulnerability Scan",
      "test",
      "End-to-End Tests",
      "Effectiveness Validation",
      "All CI Checks Passed"
    ]
  },
  "enforce_admins": true,
  "required_pull_request_reviews": {
    "required_approving_review_count": 1,
    "dismiss_stale_reviews": true
  },
  "restrictions": null,
  "allow_force_pushes": false,
  "allow_deletions": false
}
JSON
}

case "${1:-}" in
  --print) request ;;
  */*) request | gh api "repos/$1/branches/${2:-main}/protection" --method PUT --input - ;;
  *)
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
