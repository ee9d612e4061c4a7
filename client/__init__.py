"""client: runs inside a hospital; reads its files, answers aggregate questions, decides what leaves."""
