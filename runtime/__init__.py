"""What any running role needs: settings, connection, embedded store, lifecycle, leases, telemetry."""
