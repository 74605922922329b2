"""What reads a stranger's file: nothing in it runs, and nothing in it takes the machine down."""
