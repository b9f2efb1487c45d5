"""After deployment: drift of requests and answers, corrections by users, deletion."""
