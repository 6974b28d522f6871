"""The bundle that a reviewer needs: one ZIP with all that a report was computed from, and the check of one."""
