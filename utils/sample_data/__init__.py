"""Made-up archives to try, test and time everything on."""
