"""The paper's tables and its Figure 2 by one command: what is compared, the runs, the tests, the reports."""
